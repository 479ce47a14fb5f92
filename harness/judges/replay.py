"""The judge that only remembers: recorded answers, and never a request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.judges.answers import Answers, request_hash
from harness.judges.openai_judge import judgements
from harness.records.judgement import Judgement, Pair

if TYPE_CHECKING:
    from harness.adapters.annotators import Annotator


@dataclass(frozen=True)
class Recorded:
    """The recorded answers to the questions about some pairs; ``rows`` as in `Answers`, one for each question."""

    annotator: "Annotator"
    model: str
    base_url: str
    questions: list
    rows: list[dict]

    @property
    def judge(self) -> str:
        return f"{self.annotator.name}:{self.model}"


class ReplayJudge:
    """Answers from an ``answers.jsonl`` that an `OpenAIJudge` has written.

    Args:
        annotator, model: as the recording judge had them; model None where the file holds one only.
        base_url: the server that was asked; None where the file holds one only.
        answers: the file; None for ``answers.jsonl`` of the run's folder.
        say: called with every line that the user should see.
    """

    def __init__(
        self,
        annotator: str = "weighted_alpaca_eval_gpt4_turbo",
        model: str | None = None,
        base_url: str | None = None,
        answers: str | None = None,
        say: Callable[[str], None] = print,
    ):
        self._annotator, self._model, self._base_url, self._file, self._say = annotator, model, base_url, answers, say

    def judge(self, pairs: Sequence[Pair], baseline: str, folder: Path) -> list[Judgement]:
        """The judgements of the pairs, in their order.

        Raises:
            UserError: see `recorded`.
        """
        found = self.recorded(pairs, folder)
        self._say(f"judgements: {len(found.questions)} needed, {len(found.rows)} stored, none asked")
        return judgements(found.annotator, found.judge, pairs, baseline, found.questions, found.rows)

    def recorded(self, pairs: Sequence[Pair], folder: Path) -> Recorded:
        """The answers to all questions about the pairs.

        Raises:
            UserError: no file of answers, several judges in it and none named, or an answer that is not in it.
        """
        from harness.adapters.annotators import Annotator

        path = Path(self._file) if self._file else Path(folder) / "answers.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: no recorded answers; record them with judge=openai, or set judge.answers")
        answers = Answers(path)
        model = self._model or _the_only("model", {key[0] for key in answers.rows}, path)
        servers = {key[1] for key in answers.rows if key[0] == model}
        if not servers:
            known = ", ".join(sorted({key[0] for key in answers.rows})) or "nobody"
            raise UserError(f"{path}: holds no answers of {model}, only of {known}; judge with it first")
        base_url = (self._base_url or _the_only("base_url", servers, path)).rstrip("/")
        annotator = Annotator(self._annotator, model)
        questions = annotator.questions(pairs)
        rows = [answers.rows.get((model, base_url, request_hash(question.body))) for question in questions]
        unusable = [
            place
            for question, row in zip(questions, rows, strict=True)
            if row is None or row["reason"] is not None
            for place in question.places
            if place is not None
        ]
        if unusable:
            raise UserError(
                f"{path}: {len(unusable)} of {len(pairs)} judgements are not recorded, the first for instruction "
                f"{min(unusable)} ({pairs[min(unusable)].key}); ask for them with judge=openai"
            )
        return Recorded(annotator, model, base_url, questions, [row for row in rows if row is not None])


def _the_only(name: str, found: set[str], path: Path) -> str:
    if len(found) != 1:
        known = ", ".join(sorted(found)) or "none"
        raise UserError(f"{path}: holds {len(found)} values of {name}; choose with judge.{name}: {known}")
    return next(iter(found))
