"""A judge behind any OpenAI-compatible server, asked as AlpacaEval asks."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.judges.address import OPENAI, key_of
from harness.judges.answers import Answers, request_hash
from harness.judges.cost import estimate, within_budget
from harness.judges.endpoint import Endpoint, Failed
from harness.progress import Display
from harness.records.judgement import Judgement, Pair

if TYPE_CHECKING:
    from harness.adapters.annotators import Annotator, Question


class OpenAIJudge:
    """Judges pairs of responses with a language model, as one of AlpacaEval's annotators.

    Args:
        annotator: name of the AlpacaEval annotator configuration: prompt, order of the outputs, parser, settings.
        model: the judge's model; None for the annotator's own.
        base_url: the server.
        key_env: the environment variable that holds the key.
        insecure: whether the key may go over http to another machine.
        in_flight, requests_per_minute, retries, backoff, timeout: see `harness.judges.endpoint.Endpoint`.
        prices: model -> {"input", "output"} in US dollars per million tokens.
        budget_usd: refuse to start above this estimated cost; None for no bound.
        say: called with every line that the user should see.
        progress: shows how many answers have reached the disk; None for a bar on standard error.
    """

    def __init__(
        self,
        annotator: str = "weighted_alpaca_eval_gpt4_turbo",
        model: str | None = None,
        base_url: str = OPENAI,
        key_env: str = "OPENAI_API_KEY",
        insecure: bool = False,
        in_flight: int = 32,
        requests_per_minute: float | None = None,
        retries: int = 8,
        backoff: float = 0.5,
        timeout: float = 120.0,
        prices: Mapping[str, Mapping[str, float]] | None = None,
        budget_usd: float | None = None,
        say: Callable[[str], None] = print,
        progress: Display | None = None,
    ):
        from harness.adapters.annotators import Annotator

        self.annotator = Annotator(annotator, model)
        self.base_url = base_url.rstrip("/")
        self._key = key_of(self.base_url, key_env, insecure)
        self._endpoint = Endpoint(self.base_url, self._key, in_flight, requests_per_minute, retries, backoff, timeout)
        self._prices, self._budget_usd = prices or {}, budget_usd
        self._say, self._progress = say, progress or Display()

    @property
    def name(self) -> str:
        """Who judges, as judgements name it: the annotator, and the model where it is not the annotator's name."""
        return f"{self.annotator.name}:{'+'.join(self.annotator.models)}"

    def judge(self, pairs: Sequence[Pair], baseline: str, folder: Path) -> list[Judgement]:
        """The judgements of the pairs, in their order; asks only what ``folder/answers.jsonl`` does not hold.

        Raises:
            UserError: over the budget; the server refuses the key or the model.
        """
        answers = Answers(Path(folder) / "answers.jsonl", self._key, mend=True)
        for line in answers.set_aside:
            self._say(line)
        questions = self.annotator.questions(pairs)
        keys = [(question.body["model"], self.base_url, request_hash(question.body)) for question in questions]
        missing = [
            (question, key) for question, key in zip(questions, keys, strict=True) if answers.usable(key) is None
        ]
        cost = estimate([question.body for question, _ in missing], self._prices)
        stored = len(questions) - len(missing)
        self._say(f"judgements: {len(questions)} needed, {stored} stored, {len(missing)} to ask ({cost})")
        within_budget(cost, self._budget_usd)
        if missing:
            with self._progress.stage("judging", len(missing)):
                asyncio.run(self._ask(missing, answers))
        return judgements(self.annotator, self.name, pairs, baseline, questions, [answers.rows[key] for key in keys])

    async def _ask(self, missing: list, answers: Answers) -> None:
        """Every worker takes the next question only when the answer to its last one is on the disk."""
        waiting = iter(missing)
        written: asyncio.Queue = asyncio.Queue()
        broken = _Broken(limit=self._endpoint.in_flight)
        writer = asyncio.create_task(self._write(written, answers))
        try:
            async with self._endpoint, asyncio.TaskGroup() as workers:
                for _ in range(min(self._endpoint.in_flight, len(missing))):
                    workers.create_task(self._work(waiting, written, broken))
                    # Small servers' queues of new connections overflow when all arrive at once: a second is lost.
                    await asyncio.sleep(0.002)
        except ExceptionGroup as group:  # one worker's error stops the others; the first is the one to tell
            raise group.exceptions[0] from None
        finally:
            await written.join()  # what was answered is stored, whatever stopped the rest
            writer.cancel()

    async def _work(self, waiting: Iterator, written: asyncio.Queue, broken: "_Broken") -> None:
        for question, (model, base_url, request) in waiting:
            row = {"model": model, "base_url": base_url, "request": request, "choice": None, "reason": None}
            row |= {"usage": None, "seconds": None, "annotator": question.annotator}
            if broken.reason:
                row["reason"] = f"not asked: {broken.reason}"
            else:
                row |= await self._answer(question, broken)
            row["date"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            stored = asyncio.get_running_loop().create_future()
            written.put_nowait((row, stored))
            await stored

    async def _answer(self, question: "Question", broken: "_Broken") -> dict:
        from harness.adapters.annotators import UnparsableAnswer

        began = time.monotonic()
        try:
            choice, usage = await self._endpoint.ask(question.body)
        except Failed as failed:
            broken.note(str(failed) if failed.server_down else None)
            return {"reason": str(failed)}
        broken.note(None)
        reason: str | None = None
        try:
            self.annotator.parse(question, choice)
        except UnparsableAnswer as error:
            reason = str(error)
        seconds = round(time.monotonic() - began, 3)
        return {"choice": choice, "usage": usage, "seconds": seconds, "reason": reason}

    async def _write(self, written: asyncio.Queue, answers: Answers) -> None:
        """One flush to the disk for all answers that have come since the last one."""
        while True:
            batch = [await written.get()]
            while not written.empty():
                batch.append(written.get_nowait())
            waiting = [stored for _, stored in batch]
            try:
                await asyncio.to_thread(answers.append, [row for row, _ in batch])
            except Exception as error:  # a full disk: the workers raise it, and none of them waits for ever
                for stored in waiting:
                    if not stored.done():
                        stored.set_exception(error)
            else:
                for stored in waiting:
                    if not stored.done():
                        stored.set_result(None)
                self._progress.advance(len(batch))
            for _ in batch:
                written.task_done()


class _Broken:
    """Whether the server is down: so many requests in a row have failed after all their retries."""

    def __init__(self, limit: int):
        self._limit, self._in_a_row = limit, 0
        self.reason: str | None = None

    def note(self, failure: str | None) -> None:
        self._in_a_row = self._in_a_row + 1 if failure else 0
        if failure and self._in_a_row >= self._limit:
            self.reason = f"{self._in_a_row} requests in a row failed, the last with {failure}"


def judgements(
    annotator: "Annotator",
    judge: str,
    pairs: Sequence[Pair],
    baseline: str,
    questions: "Sequence[Question]",
    rows: Sequence[dict],
) -> list[Judgement]:
    """The judgements of the pairs, from the answers' rows; a pair that was not asked is a tie of equal responses."""
    preferences: list[float | None] = [1.5] * len(pairs)
    reasons: list[str | None] = [None] * len(pairs)
    for question, row in zip(questions, rows, strict=True):
        answered = annotator.parse(question, row["choice"]) if row["reason"] is None else None
        for slot, place in enumerate(question.places):
            if place is not None:
                preferences[place], reasons[place] = (answered[slot] if answered else None), row["reason"]
    return [
        Judgement(pair.key, preference, judge, baseline, len(pair.baseline), len(pair.response), reason)
        for pair, preference, reason in zip(pairs, preferences, reasons, strict=True)
    ]
