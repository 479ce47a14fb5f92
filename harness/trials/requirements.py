"""What a sweep needs of a machine: its models, their sizes, and the arithmetic of memory and time. No downloads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.config.schema import Sweep
from harness.config.task_file import read_yaml
from harness.models.assemble import places
from harness.models.catalog import MODELS
from harness.models.pool import EMBEDDED, Resolver
from harness.models.revision import MODEL_FILES, is_hub_name
from harness.trials.trial import Setting

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
BATCH_TOKENS = 1 << 15  # the decoder's own default
PROMPTS = {"alpaca_eval": 805, "tldr": 1000, "reviews": 128}
# Floating-point operations a second that decoding of many rows reaches; of a GPU, the most that an H200 can do in 16
# bits by its data sheet, as no figure of ours is measured yet.
RATES = {"cpu": 2e10, "cuda": 9.9e14, "mps": 2e12}
BANDWIDTH = {"cuda": 4.8e12}  # bytes a second of an H200's memory, by its data sheet


@dataclass(frozen=True)
class ModelNeed:
    """A model of a sweep.

    Attributes:
        path: folder or hub name. roles: the places that use it.
        where: "embedded" (trained and cached), "untrained" (embedded, not yet), "folder", "cached" (the hub's cache),
            "hub" (to be downloaded) or "missing" (no such folder).
        bytes: of its files; None where that is not known. memory: of its weights as they are loaded.
        cache: bytes of keys and values to a token. gated: its licence must be accepted first.
    """

    path: str
    roles: tuple[str, ...]
    where: str
    bytes: int | None
    memory: int | None
    cache: float
    gated: bool


def models(sweep: Sweep, settings: list[Setting]) -> list[ModelNeed]:
    """Every model once, in the order of first use; the same weights in two roles are one."""
    roles: dict[tuple[str | None, str], dict[str, None]] = {}
    for setting in settings:
        for place, spec in places(setting.config):
            roles.setdefault((spec["path"], spec["dtype"]), {})[place] = None
    gold, judge = sweep.task.gold.path, (sweep.judge or {}).get("model")
    if gold:
        roles.setdefault((gold, "float32"), {})["task.gold"] = None
    if judge and (sweep.judge or {}).get("name") == "reward":
        roles.setdefault((judge, "float32"), {})["judge.model"] = None
    return [_need(path, dtype, tuple(names)) for (path, dtype), names in roles.items()]


def _need(path: str | None, dtype: str, roles: tuple[str, ...]) -> ModelNeed:
    if path is None:
        return ModelNeed("(none given)", roles, "missing", None, None, 0.0, False)
    if path.startswith(EMBEDDED):
        size = _embedded_bytes(path.removeprefix(EMBEDDED))
        return ModelNeed(
            path, roles, "untrained" if Resolver(build=False).missing else "embedded", size, size, 0.0, False
        )
    local = Path(path).expanduser()
    if local.is_dir():
        size = sum(file.stat().st_size for pattern in MODEL_FILES for file in local.glob(pattern))
        return ModelNeed(path, roles, "folder", size, size, 0.0, False)
    if local.exists() or path.startswith((".", "/", "~")) or not is_hub_name(path):
        return ModelNeed(path, roles, "missing", None, None, 0.0, False)
    known = MODELS.get(path)
    if known is None:
        return ModelNeed(path, roles, _cached(path), None, None, 0.0, False)
    parameters = known.billions * 1e9
    # small models lie on the hub in 32 bits, the large ones in 16
    stored = int(parameters * (4 if known.billions < 2 else 2))
    cache = known.cache * 1000 * BYTES[dtype] / 2
    return ModelNeed(path, roles, _cached(path), stored, int(parameters * BYTES[dtype]), cache, known.gated)


def _embedded_bytes(name: str) -> int:
    """Of an embedded model's weights: a GPT-2's 12 · layers · width² and its embeddings of tokens and positions."""
    from harness.models.embedded import EmbeddedRecipe

    recipe = EmbeddedRecipe()
    width, layers, _ = recipe.base if name == "base" else recipe.guide
    return BYTES["float32"] * (12 * layers * width**2 + (recipe.vocab + recipe.positions) * width)


def _cached(path: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    return "cached" if isinstance(try_to_load_from_cache(path, "config.json"), str) else "hub"


def weights(sweep: Sweep, settings: list[Setting]) -> int:
    """Bytes of all models as they are loaded, as far as their sizes are known."""
    return sum(need.memory or 0 for need in models(sweep, settings))


def memory(sweep: Sweep, needs: list[ModelNeed]) -> int | None:
    """Bytes that the weights and the caches of all models take together; None where a model's size is not known."""
    weights = [need.memory for need in needs if need.memory is not None]
    if len(weights) < len(needs):
        return None
    tokens = sweep.batch_tokens or BATCH_TOKENS
    return sum(weights) + int(tokens * sum(need.cache for need in needs))


def prompts(sweep: Sweep) -> int | None:
    """Prompts of the test split; None where only the data itself says how many."""
    return sweep.task.n_test or PROMPTS.get(str(sweep.task.name))


def seconds(
    sweep: Sweep,
    settings: list[Setting],
    needs: list[ModelNeed],
    asked: int,
    pace: Mapping[tuple[str, int], float] | None = None,
) -> float | None:
    """The decoding time of all trials; None where a size or the limit of a response is not known.

    Args:
        asked: prompts of the test split.
        pace: (method, rows) -> seconds of a response, as measured (`harness.doctor.pace`); None: by `of_response`.
    """
    tokens = limit(sweep)
    if tokens is None or any(need.memory is None for need in needs):
        return None
    by_method: dict[str, list[float]] = {}
    for setting in settings:
        each = of_response(sweep, setting, needs) if pace is None else pace[setting.method, setting.rows]
        by_method.setdefault(setting.method, []).append(each or 0.0)
    everything = sum(map(sum, by_method.values()))
    if not sweep.select.metric:
        return asked * len(sweep.seeds) * everything
    dev = (sweep.task.n_dev or math.ceil(asked / 2)) * len(sweep.select.seeds)
    return dev * everything + asked * len(sweep.seeds) * sum(map(fmean, by_method.values()))


def of_response(sweep: Sweep, setting: Setting, needs: list[ModelNeed]) -> float | None:
    """Seconds of a response by the sizes of its models; None where a size or the limit of a response is not known.

    Two operations per parameter and token of every row, at a rate that decoding reaches on such a device. On a GPU this
    is a floor: its rate is the data sheet's, and no step takes less than reading weights once for all prompts that are
    decoded together, those of a value once a chunk. Keys and values, and what the host does, come on top.
    """
    tokens, memory_of = limit(sweep), {need.path: need.memory for need in needs}
    used = [(memory_of[spec["path"]], BYTES[spec["dtype"]]) for _, spec in places(setting.config)]
    if tokens is None or any(memory is None for memory, _ in used):
        return None
    device, together = sweep.device.partition(":")[0], _together(sweep, setting, tokens)
    operations = 2 * sum((memory or 0) / width for memory, width in used) * together * setting.rows
    step = operations / RATES.get(device, RATES["cpu"])
    if device in BANDWIDTH:
        stepping = {spec["path"] for place, spec in places(setting.config) if not place.startswith("value.")}
        seldom = {spec["path"] for _, spec in places(setting.config)} - stepping
        read: float = sum(memory_of[path] or 0 for path in stepping)
        read += sum(memory_of[path] or 0 for path in seldom) / _chunk(setting, tokens)
        step = max(step, read / BANDWIDTH[device])
    return step * tokens / together


def _together(sweep: Sweep, setting: Setting, tokens: int) -> int:
    """Prompts that are decoded at a time at most, as `harness.sweep.room.wanted` counts those of no length."""
    survivors = min((setting.config.get("search") or {}).get("width") or setting.rows, setting.rows)
    held = survivors * (tokens + setting.rows // survivors * _chunk(setting, tokens))
    return max(1, min(sweep.block, (sweep.batch_tokens or BATCH_TOKENS) // held))


def _chunk(setting: Setting, tokens: int) -> int:
    """Tokens between two choices of a search."""
    return min((setting.config.get("search") or {}).get("length") or tokens, tokens)


def is_floor(sweep: Sweep) -> bool:
    """Whether `of_response` gives a lower bound of the time, and not an estimate."""
    return sweep.device.partition(":")[0] in BANDWIDTH


def limit(sweep: Sweep) -> int | None:
    """Tokens of a response at most; None where only a task that is not this package's says so."""
    return sweep.sampling.max_new_tokens or _limit(sweep)


def _limit(sweep: Sweep) -> int | None:
    """The task's own limit of a response, where it is one of this package's."""
    import tasks

    name = str(sweep.task.name)
    if name not in tasks.names():
        return None
    return read_yaml(tasks.path(name) / f"{name}.yaml").get("generation_kwargs", {}).get("max_gen_toks")
