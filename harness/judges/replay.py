"""The judge that only remembers: recorded answers, and never a request."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.judges.answers import Answers, request_hash
from harness.judges.judgement import Judgement, Pair
from harness.judges.openai_judge import judgements


class ReplayJudge:
    """Answers from an ``answers.jsonl`` that an `OpenAIJudge` has written.

    Args:
        annotator, model: as the recording judge had them.
        base_url: the server that was asked; None where the file holds the answers of one only.
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
            UserError: no file of answers, several judges in it and none named, or an answer that is not in it.
        """
        from harness.adapters.annotators import Annotator

        path = Path(self._file) if self._file else Path(folder) / "answers.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: no recorded answers; record them with judge=openai, or set judge.answers")
        answers = Answers(path)
        model = self._model or _the_only("model", {key[0] for key in answers.rows}, path)
        base_url = (self._base_url or _the_only("base_url", {key[1] for key in answers.rows}, path)).rstrip("/")
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
                f"{path}: {len(unusable)} of {len(pairs)} judgements are not recorded, the first for prompt "
                f"{pairs[min(unusable)].key} (place {min(unusable)}); ask for them with judge=openai"
            )
        self._say(f"judgements: {len(questions)} needed, {len(rows)} stored, none asked")
        return judgements(annotator, f"{annotator.name}:{model}", pairs, baseline, questions, rows)


def _the_only(name: str, found: set[str], path: Path) -> str:
    if len(found) != 1:
        known = ", ".join(sorted(found)) or "no answers"
        raise UserError(f"{path}: holds {len(found)} values of {name}; choose with judge.{name}: {known}")
    return next(iter(found))
