"""Running one trial: decode what is missing in fixed blocks, record it, score it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.judges.judgement import prompt_key
from harness.run_folder import RunFolder
from harness.trials import Trial

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
    """

    def __init__(self, run: RunFolder, trial: Trial, generate: Generate, block: int, done: Callable[[int], Any]):
        self.run, self.trial, self.generate, self.block, self.done = run, trial, generate, block, done
        self.generated = 0

    def respond(self, prompts: "Sequence[Asked]", sampling: "Sampling") -> list[str]:
        """The responses, in order; one and the same prompt has one response."""
        lines = self.run.records(self.trial.id)
        rows = self.run.rows(lines)
        distinct = list({one.text: one for one in prompts}.values())
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
    if generation.trace is not None:
        row["trace"] = generation.trace
    return row


def record_scores(run: RunFolder, trial: Trial, scored: list[tuple[str, dict[str, float]]]) -> None:
    """Add the scores of prompts that have none yet."""
    lines = run.scores(trial.id)
    have = set(run.rows(lines))
    rows = {prompt_key(prompt): {"key": prompt_key(prompt), "scores": scores} for prompt, scores in scored}
    lines.append(row for key, row in rows.items() if key not in have)
