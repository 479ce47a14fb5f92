"""A judgement: which of two responses to one prompt is better, and who says so."""

import hashlib
from dataclasses import asdict, dataclass

TOO_MANY_MISSING = 3


def too_many_missing(
    missing: int, asked: int, bound: float, mend: str = "run the same command again to ask for those"
) -> str | None:
    """What to say where more than a share ``bound`` of the judgements is missing; the exit code is then 3."""
    if missing <= bound * asked:
        return None
    return f"error: {missing} of {asked} judgements are missing, more than judge.max_missing={bound:g}; {mend}"


def prompt_key(text: str) -> str:
    """What identifies a prompt: the first 16 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Pair:
    """What a judge sees: one instruction, the baseline's response and the model's.

    ``index`` is the instruction's place in its task, where that is known.
    """

    instruction: str
    baseline: str
    response: str
    index: int | None = None

    @property
    def key(self) -> str:
        return prompt_key(self.instruction)


@dataclass(frozen=True)
class Judgement:
    """One row of ``judgements/TRIAL.jsonl``.

    Attributes:
        key: the prompt's key, see `prompt_key`.
        preference: 1 (the baseline's response is better) to 2 (the model's is); None where the judge gave no answer.
        judge: who judged it.
        baseline: whose response the model's was compared with: a trial's id or a generator's name.
        len_1: characters of the baseline's response.
        len_2: characters of the model's response.
        reason: why there is no preference; None where there is one.
    """

    key: str
    preference: float | None
    judge: str
    baseline: str
    len_1: int
    len_2: int
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.preference is None) == (self.reason is None):
            raise ValueError(f"judgement {self.key}: a preference or a reason for its absence, and not both")
        if self.preference is not None and not 1 <= self.preference <= 2:
            raise ValueError(f"judgement {self.key}: a preference lies between 1 and 2, not at {self.preference}")

    def row(self) -> dict:
        """The row as it is stored: without ``reason`` where there is a preference."""
        row = asdict(self)
        if self.reason is None:
            del row["reason"]
        return row
