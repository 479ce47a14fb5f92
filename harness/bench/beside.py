"""Every method beside plain chunk search: what a row's token costs, at equal rows of the batch."""

import statistics
from collections.abc import Callable
from datetime import UTC, datetime

import torch

from guiders import Generation, Guider, GuiderError, Sampling, generate
from harness.bench.clocks import timed
from harness.bench.machine import machine
from harness.bench.models import Models
from harness.bench.settings import Bench
from harness.bench.variants import UNBOUNDED, rows_of

REFERENCE = "chunk_explicit"


def compared(spec: Bench, say: Callable[[str], None]) -> dict:
    """Rates of every method of ``spec.methods``, and its share of chunk search's, the median over the rounds.

    A method whose search has R rows decodes so many prompts that the batch has as many rows as chunk search's. Its rate
    counts the tokens of all R rows, whether a row is drawn once (chunks), over and over (chains) or not to its end
    (rejection); the positions that its models needed, for each of these tokens, say why a rate is low. A method that
    these models can't run is named with the reason.
    """
    models, device = Models(spec), torch.device(spec.device)
    guiders: dict[str, Guider] = {}
    figures: dict[str, dict] = {}
    for method in dict.fromkeys([REFERENCE, *spec.methods]):
        try:
            guiders[method] = _ready(spec, models, method)
        except GuiderError as error:
            figures[method] = {"not_run": str(error)}
    batch = spec.prompts * rows_of(guiders[REFERENCE])
    rounds: dict[str, list[dict]] = {method: [] for method in guiders}
    for index in range(spec.rounds):
        for method, guider in guiders.items():
            count = max(1, batch // rows_of(guider))
            one = _timed(spec, guider, models.prompts(count, *spec.prompt_tokens, spec.seed), device)
            rounds[method].append(one)
            one["share"] = one["row_tokens_per_second"] / rounds[REFERENCE][index]["row_tokens_per_second"]
            say(f"round {index + 1}: {method}: {one['seconds']:.1f} s")
    for method, runs in rounds.items():
        figures[method] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        "settings": spec.model_dump(),
        "equal_work": "no model has an end token",
        "models": models.parameters(),
        "vocabulary": models.vocabulary,
        "reference": REFERENCE,
        "beside": {method: figures[method] for method in dict.fromkeys([REFERENCE, *spec.methods])},
    }


def _ready(spec: Bench, models: Models, method: str) -> Guider:
    """The method's guider, once it has decoded two tokens; with a value head of the kind that it asks for.

    Raises:
        GuiderError: these models can't run it.
    """
    sampling, prompts = Sampling(max_new_tokens=2), models.prompts(1, *spec.prompt_tokens, spec.seed)
    try:
        guider = models.guider(method, spec.grid)
        list(generate(guider, prompts, sampling))
    except GuiderError as first:
        try:
            guider = models.with_head("vocab" if spec.value_head == "scalar" else "scalar").guider(method, spec.grid)
            list(generate(guider, prompts, sampling))
        except GuiderError:
            raise first from None
    return guider


def _timed(spec: Bench, guider: Guider, prompts: list[list[int]], device: torch.device) -> dict:
    """One run."""
    sampling = Sampling(max_new_tokens=spec.new_tokens, seed=spec.seed)
    given: list[Generation] = []
    spent = timed(
        lambda: given.extend(generate(guider, prompts, sampling, batch_tokens=UNBOUNDED, graphs=spec.graphs)), device
    )
    seconds, rows = spent.by(spec.clock), rows_of(guider)
    tokens = sum(len(one.tokens) for one in given)
    return {
        "rows": rows,
        "prompts": len(prompts),
        "seconds": seconds,
        "answer_tokens_per_second": tokens / seconds,
        "row_tokens_per_second": rows * tokens / seconds,
        "positions_per_row_token": sum(one.forward_passes for one in given) / (rows * tokens),
        "peak_bytes": spent.peak_bytes,
    }
