"""The records of one trial: which blocks of prompts are missing, what is decoded of them, and the scores."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.backends.protocol import Asked, Block
from harness.errors import UserError
from harness.records.judgement import prompt_key
from harness.records.run_folder import RunFolder
from harness.trials.trial import Trial

if TYPE_CHECKING:
    from guiders import Generation, Sampling


class Recorder:
    """Cuts a trial's prompts into blocks, and adds what is decoded of them to its records.

    Blocks are fixed, in the prompts' order. A block of which any record is missing is decoded whole again and only the
    missing records are added, so that what stands beside a prompt in its batch, and with it the rounding of its floats,
    is the same whether or not the run was ever interrupted.

    Args:
        prompts: of the trial; one and the same prompt has one record.
        block: prompts to a block.

    Attributes:
        prompts: the distinct prompts, in order.
        generated: records that were added.
    """

    def __init__(self, run: RunFolder, trial: Trial, prompts: Sequence[Asked], block: int):
        self.trial, self.block = trial, block
        self.prompts = list({one.text: one for one in prompts}.values())
        self.generated = 0
        self._lines = run.records(trial.id)
        self._rows = dict(run.rows(self._lines))
        self._lacking = {prompt_key(one.text) for one in self.prompts} - self._rows.keys()

    @property
    def is_complete(self) -> bool:
        return not self._lacking

    def blocks(self, guider: dict, sampling: "Sampling") -> Iterator[Block]:
        """The blocks of which any record is missing.

        Args:
            guider: the guider's configuration.
        """
        for start in range(0, len(self.prompts), self.block):
            block = self.prompts[start : start + self.block]
            if any(map(self.lacks, block)):
                yield Block(self.trial.id, guider, start, tuple(block), sampling)

    def add(self, block: Block, generations: "Sequence[Generation]") -> int:
        """Record what a block lacked; how many records that are. They are on the disk when this returns.

        generations: of some or all of the block's prompts, each with its place in the block as its index.
        """
        new = []
        for generation in generations:
            row = record(block.start + generation.index, block.prompts[generation.index], generation)
            if row["key"] not in self._rows:
                self._rows[row["key"]] = row
                self._lacking.discard(row["key"])
                new.append(row)
        self._lines.append(new)
        self.generated += len(new)
        return len(new)

    @property
    def responses(self) -> dict[str, str]:
        """Prompt's text -> recorded response."""
        return {one.text: self._rows[prompt_key(one.text)]["response"] for one in self.prompts}

    @property
    def truncated(self) -> int:
        """How many prompts were too long and lost their beginning."""
        return sum(self._rows[prompt_key(one.text)].get("truncated", 0) > 0 for one in self.prompts)

    def lacks(self, one: Asked) -> bool:
        """Is a prompt not recorded yet?"""
        return prompt_key(one.text) not in self._rows


def record(index: int, asked: Asked, generation: "Generation") -> dict:
    """A row of ``records/TRIAL.jsonl``."""
    row = {
        "key": prompt_key(asked.text),
        "index": index,
        "prompt": asked.text,
        "response": generation.text,
        "n_tokens": len(generation.tokens),
        "finish_reason": generation.finish_reason,
        "value": generation.value,
        "kl": generation.kl,
        "kl_search": generation.kl_search,
        "log_ratio": generation.log_ratio,
        "forward_passes": generation.forward_passes,
        "computed_passes": generation.computed_passes,
        "seconds": generation.seconds,
    }
    if asked.wrapped is not None:
        row["wrapped"] = asked.wrapped
    if generation.truncated:
        row["truncated"] = generation.truncated
    if generation.log_weight is not None:
        row["log_weight"] = max(generation.log_weight, -sys.float_info.max)  # JSON has no infinity; a weight of 0
    if generation.notes:
        row["notes"] = generation.notes
    if generation.trace is not None:
        row["trace"] = generation.trace
    return row


def record_scores(
    run: RunFolder, trial: Trial, scored: list[tuple[str, dict[str, float]]], scorer: str | None = None
) -> None:
    """Add the scores of prompts that have none yet, or another scorer's; the last row of a prompt counts.

    Args:
        scorer: who scored, by content (`harness.sweep.scorer`).

    Raises:
        UserError: a score that is NaN or infinite; nothing is added then.
    """
    for prompt, scores in scored:
        for metric, value in scores.items():
            if not math.isfinite(value):
                where = f"{metric} of the prompt {prompt_key(prompt)} ({' '.join(prompt.split())[:60]!r})"
                raise UserError(f"task {trial.task}: {where} is {value}; mend the metric or the reward model")
    lines = run.scores(trial.id)
    have = {key for key, row in run.rows(lines, last=True).items() if row.get("scorer") == scorer}
    by = {} if scorer is None else {"scorer": scorer}
    rows = {prompt_key(prompt): {"key": prompt_key(prompt), "scores": scores, **by} for prompt, scores in scored}
    lines.append(row for key, row in rows.items() if key not in have)
