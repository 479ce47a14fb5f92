"""Direct preference optimisation (Rafailov et al., 2023), by TRL's ``DPOTrainer``."""

from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from guiders.training.checkpoint import Checkpoints
from guiders.training.run import check_rows, run, scratch, settings
from guiders.training.schedule import Lora, Progress, Schedule
from guiders.training.sft import encode

if TYPE_CHECKING:
    from peft import PeftModel


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    schedule: Schedule,
    *,
    beta: float = 0.1,
    max_length: int = 1024,
    lora: Lora | None = None,
    progress: Progress | None = None,
    stage: str = "dpo",
    checkpoints: Checkpoints | None = None,
) -> "PreTrainedModel | PeftModel":
    """Tune a model on preferences, with the model as it comes in as the reference.

    The optimum satisfies ``beta (log π⁺(y|x) − log π⁻(y|x)) = r(x, y) + c(x)``: the log-ratio of the tuned and the
    untuned model is the reward over ``beta``, which is what makes the pair an implicit value.

    Args:
        model: the untuned model; trained in place unless ``lora`` wraps it (copy it first to keep it).
        rows: ``{"prompt", "chosen", "rejected"}``; the end-of-text token is added to the responses.
        beta: the strength of the KL penalty to the reference.
        checkpoints: as in ``sft.train``.

    Returns:
        The tuned model, in evaluation mode (a PEFT model with ``lora``).

    Raises:
        GuiderError: no rows, or a row without one of the columns.
    """
    from datasets import Dataset
    from peft import PeftModel
    from trl import DPOConfig, DPOTrainer

    class Encoded(DPOTrainer):
        """Takes rows that are token ids already. TRL encodes prompt and response as one text, in which tokens may merge
        across the boundary; the decoder goes on from the prompt's own tokens."""

        def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
            return dataset

    check_rows(rows, ("prompt", "chosen", "rejected"))
    data = [_encode(tokenizer, row, max_length) for row in rows]
    with scratch(checkpoints) as folder:
        arguments = DPOConfig(
            output_dir=folder,
            beta=beta,
            max_length=max_length,
            disable_dropout=True,
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=schedule.batch_size,
            **settings(schedule, model.device, checkpoints),
        )
        trainer = Encoded(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(data),
            peft_config=lora.config() if lora else None,
        )
        longer = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in data]
        run(trainer, stage, progress, longer, schedule, checkpoints)
    assert isinstance(trainer.model, (PreTrainedModel, PeftModel))  # TRL wraps it where there is `lora`
    return trainer.model.eval()


def _encode(tokenizer: PreTrainedTokenizerBase, row: dict, max_length: int) -> dict[str, list[int]]:
    found = {"prompt_ids": tokenizer(row["prompt"])["input_ids"] if row["prompt"] else []}
    for side in ("chosen", "rejected"):
        ids = encode(tokenizer, row["prompt"], row[side], max_length)["input_ids"]
        found[f"{side}_ids"] = ids[len(found["prompt_ids"]) :]
    return found
