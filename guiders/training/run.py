"""Running a TRL trainer quietly, on the model's own device, with progress reported to a function."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.training.checkpoint import ByLength, Checkpoints
from guiders.training.schedule import Progress, Schedule

if TYPE_CHECKING:
    from transformers import Trainer


def settings(schedule: Schedule, device: torch.device, checkpoints: Checkpoints | None = None) -> dict:
    """A schedule as arguments of ``transformers.TrainingArguments``; nothing is printed or sent anywhere, and nothing
    saved but the last of the checkpoints, where they are asked for."""
    saving: dict[str, str | int] = {"save_strategy": "no"}
    if checkpoints is not None:
        saving = {
            "save_strategy": "steps",
            "save_steps": checkpoints.every,
            "save_total_limit": 1,
        }
    return {
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": schedule.warmup,  # below 1 it is a share of the steps
        "weight_decay": schedule.weight_decay,
        "seed": schedule.seed,
        "data_seed": schedule.seed,
        "use_cpu": device.type == "cpu",
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": device.type != "cpu",
        "report_to": [],
        **saving,
        "logging_steps": 5,
        "disable_tqdm": True,
    }


def run(
    trainer: "Trainer",
    stage: str,
    progress: Progress | None,
    lengths: Sequence[int],
    schedule: Schedule,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train to the end, from the last checkpoint where there is one.

    Args:
        trainer: a ``transformers.Trainer``.
        stage: the name under which progress is reported.
        progress: called after every step.
        lengths: of the training rows, in tokens: rows of like length share a batch, which saves padding.
    """
    from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Report(TrainerCallback):
        loss: float | None = None

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float] | None = None,
            **kwargs: object,
        ) -> None:
            self.loss = (logs or {}).get("loss", self.loss)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
        ) -> None:
            assert progress is not None
            progress(stage, state.global_step, state.max_steps, self.loss)

    trainer.remove_callback(PrinterCallback)
    if progress is not None:
        trainer.add_callback(Report())
    order = ByLength(lengths, schedule.batch_size, schedule.seed)
    # a Trainer takes no sampler, and one class of trainers here is TRL's own
    trainer._get_train_sampler = lambda train_dataset=None: order  # type: ignore[method-assign]
    last = checkpoints.last() if checkpoints else None
    trainer.train(resume_from_checkpoint=str(last) if last else None)


@contextmanager
def scratch(checkpoints: Checkpoints | None = None) -> Iterator[str]:
    """A folder for what a trainer writes, the checkpoints' where they are kept; no progress bars of datasets' own."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        if checkpoints is not None:
            yield str(checkpoints.folder)
        else:
            with TemporaryDirectory() as folder:
                yield folder
    finally:
        if shown:
            enable_progress_bar()


def check_rows(rows: list[dict], columns: tuple[str, ...]) -> None:
    """Refuse rows that a trainer can't use, before it starts.

    Raises:
        GuiderError: no rows, or a row without one of the columns.
    """
    if not rows:
        raise GuiderError(f"no rows to train on; give rows with {', '.join(columns)}")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if row.get(column) is None:
                raise GuiderError(f"row {number} has no {column!r}; give every row {', '.join(columns)}")
