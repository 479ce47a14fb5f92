"""Checkpoints of a training that may be killed at any moment, and the data order that it goes on with."""

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel

from guiders.models.value_model import ValueModel

STATE = "trainer_state.json"  # what transformers' Trainer writes last into a checkpoint
OWN = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps what it needs to go on.

    Args:
        folder: of this one training; made when first written.
        every: optimizer steps from one checkpoint to the next.
    """

    folder: Path
    every: int

    def last(self) -> Path | None:
        """The newest checkpoint of a Trainer that was written to its end; torn ones are removed."""
        whole = []
        for path in self.folder.glob("checkpoint-*"):
            try:
                json.loads((path / STATE).read_text(encoding="utf-8"))
                whole.append(path)
            except (OSError, ValueError):
                shutil.rmtree(path)
        return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def save(self, step: int, model: PreTrainedModel | ValueModel, optimizer: torch.optim.Optimizer) -> None:
        """Write weights, optimizer and random state, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        if model.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(model.device)
        part = self.folder / f"{OWN}.part"
        torch.save(state, part)
        os.replace(part, self.folder / OWN)

    def restore(self, model: PreTrainedModel | ValueModel, optimizer: torch.optim.Optimizer) -> int:
        """Read back what `save` wrote; the steps that are done, 0 where there is no checkpoint."""
        file = self.folder / OWN
        (self.folder / f"{OWN}.part").unlink(missing_ok=True)  # of a training that was killed while it wrote
        if not file.exists():
            return 0
        state = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if "cuda" in state and model.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], model.device)
        return state["step"]


class ByLength(Sampler[int]):
    """An order in which rows of like length share a batch, drawn anew for every epoch from (seed, epoch) alone.

    A training that goes on in the middle of an epoch skips the batches that are done and finds the same ones after
    them; transformers' own samplers draw from the global random state, which has moved on by then.

    Args:
        lengths: of the rows, in tokens. batch_size: rows to a batch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self.seed}:{self.epoch}")
        rows = draw.sample(range(len(self.lengths)), len(self.lengths))
        rows.sort(key=lambda row: self.lengths[row])  # stable: equal lengths stay in random order
        batches = [rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size)]
        # a short batch stays last: only there does the Trainer expect one
        whole = batches[:-1] if len(batches[-1]) < self.batch_size else batches
        draw.shuffle(whole)
        rest = batches[len(whole) :]
        return iter([row for batch in [*whole, *rest] for row in batch])
