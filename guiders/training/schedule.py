"""How long and how fast to train: the settings that every trainer shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import LoraConfig

Progress = Callable[[str, int, int, float | None], None]
"""``progress(stage, step, total, loss)``: called after every optimizer step; the loss is None until one was logged."""


@dataclass(frozen=True)
class Schedule:
    """AdamW with a linear warm-up and a cosine decay to zero.

    Args:
        epochs: passes over the rows.
        batch_size: rows per optimizer step.
        learning_rate: its peak.
        warmup: the share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        seed: of the data order.
    """

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation (Hu et al., 2021) in place of training all weights.

    Args:
        rank: of the update.
        alpha: the update is scaled by ``alpha / rank``.
        targets: names of the modules to adapt, or "all-linear".
    """

    rank: int = 16
    alpha: int = 32
    targets: str | tuple[str, ...] = "all-linear"

    def config(self) -> "LoraConfig":
        """PEFT's configuration."""
        from peft import LoraConfig

        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        return LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets, task_type="CAUSAL_LM")
