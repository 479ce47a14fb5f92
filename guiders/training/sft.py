"""Supervised fine-tuning of a causal LM, by TRL's ``SFTTrainer``."""

from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from guiders.training.checkpoint import Checkpoints
from guiders.training.run import check_rows, run, scratch, settings
from guiders.training.schedule import Lora, Progress, Schedule

if TYPE_CHECKING:
    from peft import PeftModel


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    schedule: Schedule,
    *,
    max_length: int = 1024,
    lora: Lora | None = None,
    progress: Progress | None = None,
    stage: str = "sft",
    checkpoints: Checkpoints | None = None,
) -> "PreTrainedModel | PeftModel":
    """Maximise the likelihood of the responses, end-of-text token included.

    Args:
        model: a causal LM; trained in place unless ``lora`` wraps it.
        tokenizer: its tokenizer.
        rows: ``{"prompt", "response"}``; an empty prompt makes the whole text the response. The loss is on the
            response.
        max_length: in tokens; what stands after is cut.
        checkpoints: kept while training; a training that finds one goes on from it, with the same data order.

    Returns:
        The trained model, in evaluation mode (a PEFT model with ``lora``).

    Raises:
        GuiderError: no rows, or a row without one of the columns.
    """
    from datasets import Dataset
    from peft import PeftModel
    from trl import SFTConfig, SFTTrainer

    check_rows(rows, ("prompt", "response"))
    data = [encode(tokenizer, row["prompt"], row["response"], max_length) for row in rows]
    with scratch(checkpoints) as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_length=max_length,
            completion_only_loss=True,
            dataset_kwargs={"skip_prepare_dataset": True},
            **settings(schedule, model.device, checkpoints),
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(data),
            peft_config=lora.config() if lora else None,
        )
        run(trainer, stage, progress, [len(row["input_ids"]) for row in data], schedule, checkpoints)
    assert isinstance(trainer.model, (PreTrainedModel, PeftModel))  # TRL wraps it where there is `lora`
    return trainer.model.eval()


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, max_length: int) -> dict:
    """``input_ids`` of prompt, response and end-of-text token, and ``labels``, -100 on the prompt."""
    before = tokenizer(prompt)["input_ids"] if prompt else []
    after = tokenizer(response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    ids, labels = before + after, [-100] * len(before) + after
    return {"input_ids": ids[:max_length], "labels": labels[:max_length]}
