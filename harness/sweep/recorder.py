"""Running one trial: decode what is missing in fixed blocks, record it, score it."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.records.judgement import prompt_key
from harness.records.run_folder import RunFolder
from harness.trials.trial import Trial

if TYPE_CHECKING:
    from guiders import Generation, Sampling
    from harness.adapters.lm_eval import Asked

Generate = Callable[[Sequence["Asked"], "Sampling"], "list[Generation]"]


class Recorder:
    """Answers prompts from a trial's records, and decodes and records those that are missing.

    Prompts are decoded in fixed blocks, in their order. A block of which any record is missing is decoded whole again
    and only the missing records are added, so that what stands beside a prompt in its batch, and with it the rounding
    of its floats, is the same whether or not the run was ever interrupted.

    Args:
        generate: decodes prompts, in their order.
        block: prompts to a block.
        done: called with the number of new records after each block.
        check: called with all prompts of the trial before any of them is decoded; raises what is wrong with them.
    """

    def __init__(
        self,
        run: RunFolder,
        trial: Trial,
        generate: Generate,
        block: int,
        done: Callable[[int], Any],
        check: "Callable[[Sequence[Asked], Sampling], Any] | None" = None,
    ):
        self.run, self.trial, self.generate, self.block, self.done = run, trial, generate, block, done
        self.check = check
        self.generated = 0
        self.truncated = 0

    def respond(self, prompts: "Sequence[Asked]", sampling: "Sampling") -> list[str]:
        """The responses, in order; one and the same prompt has one response."""
        lines = self.run.records(self.trial.id)
        rows = self.run.rows(lines)
        distinct = list({one.text: one for one in prompts}.values())
        if self.check and not all(prompt_key(one.text) in rows for one in distinct):
            self.check(distinct, sampling)
        for start in range(0, len(distinct), self.block):
            block = distinct[start : start + self.block]
            if all(prompt_key(one.text) in rows for one in block):
                continue
            new = []
            for place, generation in enumerate(self.generate(block, sampling)):
                row = record(start + place, block[place].text, generation)
                if row["key"] not in rows:
                    rows[row["key"]] = row
                    new.append(row)
            lines.append(new)
            self.generated += len(new)
            self.done(len(new))
        self.truncated = sum(rows[prompt_key(one.text)].get("truncated", 0) > 0 for one in distinct)
        return [rows[prompt_key(one.text)]["response"] for one in prompts]


def record(index: int, prompt: str, generation: "Generation") -> dict:
    """A row of ``records/TRIAL.jsonl``."""
    row = {
        "key": prompt_key(prompt),
        "index": index,
        "prompt": prompt,
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
    if generation.truncated:
        row["truncated"] = generation.truncated
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
