"""What is known before anything is decoded: room for prompts in their models, for rows in memory, for all on disk."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiders.decoding.engine import BATCH_TOKENS
from guiders.decoding.memory import in_words, needed, usable
from guiders.decoding.room import Fitted, PromptsTooLong, fitted
from harness.config.schema import Sweep
from harness.errors import UserError
from harness.sweep.plan import Job

if TYPE_CHECKING:
    from guiders import Guider, Sampling

ROW = 600  # bytes of a record, its scores and its judgement, without the texts
CHARACTERS = 5  # bytes of a token's text, about
TRACED = 400  # bytes of a token that is traced


@dataclass(frozen=True)
class ToDecode:
    """What a job lacks.

    Attributes:
        prompts: those that are not recorded. documents: their places in the task's data.
    """

    job: Job
    guider: "Guider"
    sampling: "Sampling"
    prompts: Sequence
    documents: Sequence[int]


def fit_all(jobs: Iterable[ToDecode], sweep: Sweep) -> list[tuple[ToDecode, list[Fitted]]]:
    """The jobs that lack something, each with its prompts as they will be read.

    Raises:
        PromptsTooLong: every prompt of every job that leaves no room for a response, by its place in the data.
        GuiderError: a limit of responses that leaves no room for any prompt.
    """
    read: dict[tuple, list[Fitted]] = {}
    too_long: dict[tuple[str, int], dict[str, int]] = {}
    found = []
    for one in jobs:
        guider, name = one.guider, one.job.file.name
        models = tuple(map(id, (*guider.readers, *guider.retokenising)))
        spare, limit = guider.search.scores_cut_with_end, one.sampling.max_new_tokens
        key = (name, one.job.trial.split, tuple(one.documents), models, spare, limit)
        if key not in read:
            called = [f"document {place} of {name}" for place in one.documents]
            try:
                read[key] = fitted(guider, one.prompts, one.sampling, sweep.task.on_long_prompt, called)
            except PromptsTooLong as error:
                read[key] = []
                for context, prompts in error.found.items():
                    too_long.setdefault(context, {}).update(prompts)
        found.append((one, read[key]))
    if too_long:
        raise PromptsTooLong(too_long)
    return found


def check_memory(jobs: list[tuple[ToDecode, list[Fitted]]], sweep: Sweep, weights: int) -> str | None:
    """Hold every setting to the memory that there is.

    Args:
        weights: bytes of the models that are still to be loaded.

    Returns:
        what to say where fewer prompts are decoded at a time than would be.

    Raises:
        UserError: a setting of which not even one prompt has room.
    """
    there = usable(sweep.device, None if sweep.memory is None else int(sweep.memory * 1e9))
    if there is None:
        return None
    there = there if sweep.memory is not None else max(0, there - weights)
    fewest: tuple[int, str] | None = None
    for one, prompts in jobs:
        if not prompts:
            continue
        longest, limit = max(len(prompt.ids) for prompt in prompts), max(prompt.limit for prompt in prompts)
        need = needed(one.guider, longest, limit, sweep.device)
        if need.total > there:
            raise UserError(
                f"{one.job.label}: {need.in_words(one.guider.rows)}, and decoding has {in_words(there)}; lower W·K or "
                "N (grid.width, grid.successors, grid.n), sampling.max_new_tokens, or take a smaller dtype"
            )
        slots = there // need.total
        if slots < wanted(one.guider, longest, limit, min(len(prompts), sweep.block), sweep.batch_tokens):
            fewest = min(fewest or (slots, ""), (slots, f"{one.job.label}: {need.in_words(one.guider.rows)}"))
    if fewest is None:
        return None
    said = f"{fewest[0]} prompt{'s' if fewest[0] > 1 else ''} at a time"
    return f"memory: {fewest[1]}, and decoding has {in_words(there)}: {said}"


def wanted(guider: "Guider", longest: int, limit: int, prompts: int, batch_tokens: int | None) -> int:
    """Prompts that would be decoded at a time if memory were no matter, as `guiders.decoding.engine` counts them."""
    search = guider.search
    each = longest + search.survivors * (limit + search.successors * min(search.ends.most or limit, limit))
    return max(1, min(prompts, (batch_tokens or BATCH_TOKENS) // each))


def check_disk(jobs: list[tuple[ToDecode, list[Fitted]]], folder: Path, trace: bool) -> None:
    """Hold the run to the space of its folder's file system.

    Raises:
        UserError: it is less than what the jobs will write, about.
    """
    needs = sum(disk_bytes(prompts, trace) for _, prompts in jobs)
    free = shutil.disk_usage(folder).free
    if needs > free:
        raise UserError(
            f"{folder}: the run takes about {in_words(needs)} of disk, and {in_words(free)} are free; make room, or "
            "choose another folder with run_dir=PATH"
        )


def disk_bytes(prompts: Sequence[Fitted], trace: bool) -> int:
    """Of the records, scores and judgements of some prompts, about."""
    per_token = CHARACTERS + (TRACED if trace else 0)
    return sum(ROW + CHARACTERS * len(prompt.ids) + per_token * prompt.limit for prompt in prompts)
