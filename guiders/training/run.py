"""Running a TRL trainer quietly, on the model's own device, with progress reported to a function."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import torch

from guiders.errors import GuiderError
from guiders.training.schedule import Progress, Schedule


def settings(schedule: Schedule, device: torch.device) -> dict:
    """A schedule as arguments of ``transformers.TrainingArguments``; nothing is saved, printed or sent anywhere."""
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
        "save_strategy": "no",
        "logging_steps": 5,
        "disable_tqdm": True,
    }


def run(trainer, stage: str, progress: Progress | None) -> None:
    """Train to the end.

    Args:
        trainer: a ``transformers.Trainer``.
        stage: the name under which progress is reported.
        progress: called after every step.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Report(TrainerCallback):
        loss = None

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.loss = (logs or {}).get("loss", self.loss)

        def on_step_end(self, args, state, control, **kwargs):
            progress(stage, state.global_step, state.max_steps, self.loss)

    trainer.remove_callback(PrinterCallback)
    if progress is not None:
        trainer.add_callback(Report())
    trainer.train()


@contextmanager
def scratch() -> Iterator[str]:
    """A folder for what a trainer insists on writing, and no progress bars of datasets' own."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
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
