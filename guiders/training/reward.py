"""A Bradley-Terry reward model (Bradley and Terry, 1952; Ouyang et al., 2022), by TRL's ``RewardTrainer``."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from guiders.training.checkpoint import Checkpoints
from guiders.training.run import check_rows, run, scratch, settings
from guiders.training.schedule import Progress, Schedule


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    schedule: Schedule,
    *,
    max_length: int = 1024,
    progress: Progress | None = None,
    stage: str = "reward",
    checkpoints: Checkpoints | None = None,
) -> PreTrainedModel:
    """Maximise ``log sigmoid(r(x, chosen) − r(x, rejected))``.

    Args:
        model: a sequence classifier with one label; trained in place.
        tokenizer: its tokenizer, with a padding token; prompt and response go through it as a pair of texts.
        rows: ``{"prompt", "chosen", "rejected"}``.
        max_length: in tokens; what stands after is cut.
        checkpoints: as in ``sft.train``.

    Returns:
        The model, in evaluation mode.

    Raises:
        GuiderError: no rows, or a row without one of the columns.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    check_rows(rows, ("prompt", "chosen", "rejected"))
    data = [
        {f"{side}_ids": encode(tokenizer, row["prompt"], row[side], max_length) for side in ("chosen", "rejected")}
        for row in rows
    ]
    model.config.pad_token_id = tokenizer.pad_token_id
    with scratch(checkpoints) as folder:
        arguments = RewardConfig(
            output_dir=folder,
            max_length=max_length,
            disable_dropout=True,
            **settings(schedule, model.device, checkpoints),
        )
        trainer = RewardTrainer(
            model=model, args=arguments, processing_class=tokenizer, train_dataset=Dataset.from_list(data)
        )
        longer = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in data]
        run(trainer, stage, progress, longer, schedule, checkpoints)
    return model.eval()


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, max_length: int | None = None) -> list[int]:
    """Prompt and response as the token ids that a sequence classifier reads."""
    texts = (prompt, response) if prompt else (response,)
    return tokenizer(*texts)["input_ids"][:max_length]
