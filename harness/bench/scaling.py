"""How the cost of an answer token grows with prompts, rows, context, chunk length and the answer's length."""

from collections.abc import Callable

import torch

from guiders import Sampling
from harness.bench.clocks import Gauge, timed
from harness.bench.models import Models
from harness.bench.parts import profiled
from harness.bench.settings import Bench
from harness.bench.variants import Variant, decoder

# Three chunks are enough to see a rate; only the answer's own length needs long answers.
NEW_TOKENS = 24
POINTS = {
    "prompts": (4, 8, 16, 32, 64),
    "rows": (1, 2, 4, 8),  # W = K
    "context": (32, 128, 512),  # tokens of every prompt
    "length": (2, 4, 8, 16),
    "new_tokens": (24, 48, 96, 192),
}


def scaled(spec: Bench, models: Models, method: str, gauge: Gauge, progress: Callable[[str], None]) -> dict:
    """Seconds per answer token along every axis, all other settings held.

    Returns:
        by axis: ``[{"at", "wall", "cpu", "peak_bytes", "per_answer_token", "gauge"}]``.
    """
    found: dict[str, list[dict]] = {}
    for axis in spec.scaling:
        points = POINTS[axis]
        if spec.quick:
            points = (points[0], points[1])
        found[axis] = []
        for point in points:
            variant = _variant(spec, models, method, axis, point)
            rate = gauge.rate()
            spent = timed(variant.run, torch.device(spec.device))
            per_token = spent.by(spec.clock) / variant.answer_tokens
            found[axis].append({"at": point, "per_answer_token": per_token, "gauge": rate, **spent.row()})
            progress(f"{method}, {axis}={point}: {1000 * per_token:.2f} ms per answer token")
    return found


def _variant(spec: Bench, models: Models, method: str, axis: str, point: int) -> Variant:
    grid, (shortest, longest) = dict(spec.grid), spec.prompt_tokens
    new_tokens = point if axis == "new_tokens" else min(NEW_TOKENS, spec.new_tokens)
    count = point if axis == "prompts" else spec.prompts
    if axis == "rows":
        grid |= {"width": point, "successors": point, "n": point * point}
    elif axis == "length":
        grid["length"] = point
    elif axis == "context":
        shortest = longest = point
    prompts = models.prompts(count, shortest, longest, spec.seed)
    sampling = Sampling(max_new_tokens=new_tokens, seed=spec.seed)
    return decoder(method, models.guider(method, grid), prompts, sampling, spec.graphs)


def prompt_memory(spec: Bench, models: Models, method: str) -> list[dict]:
    """Bytes that the caches hold for the same prompts, at one row a prompt and at all rows.

    Returns:
        ``[{"rows", "prompt", "history", "chunk"}]``, after a response of one chunk and one token.
    """
    found = []
    for width, successors in ((1, 1), (spec.width, spec.successors)):
        grid = spec.grid | {"width": width, "successors": successors, "n": width * successors}
        guider = models.guider(method, grid)
        prompts = models.prompts(spec.prompts, *spec.prompt_tokens, spec.seed)
        sampling = Sampling(max_new_tokens=spec.length + 1, seed=spec.seed)
        with profiled(guider, spec.clock) as profile:
            decoder(method, guider, prompts, sampling).run()
        found.append({"rows": width * successors, **profile.cache_bytes})
    return found
