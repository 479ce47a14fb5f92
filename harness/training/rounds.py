"""Responses to train a value on, sampled here and scored here: the first round from the base, each further one from
the policy that the value so far guides, because a value that has only seen the base's samples misleads the search."""

import functools
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.records.json_lines import objects
from harness.records.run_folder import write_text
from harness.training import config

if TYPE_CHECKING:
    from guiders import Guider, Sampling
    from guiders.training.schedule import Progress

Score = Callable[[Sequence[str], Sequence[str]], Sequence[float]]


def scorer(settings: config.FudgeStage, device: str) -> Score:
    """``(prompts, responses) -> rewards`` from ``train.reward``.

    Raises:
        UserError: a function that does not import, or a classifier that does not load.
    """
    target, arguments = settings.reward or "", settings.reward_args
    module, colon, function = target.rpartition(":")
    if not colon:
        from guiders import Classifier

        classifier = Classifier.load(target, device=device, **arguments)
        return lambda prompts, responses: classifier.rewards(list(zip(prompts, responses, strict=True))).tolist()
    try:
        found = getattr(_module(module), function)
    except (ImportError, OSError, AttributeError) as error:
        raise UserError(f"train.reward={target}: does not import ({error}); give module:function") from None
    return functools.partial(found, **arguments)


def _module(name: str) -> ModuleType:
    path = Path(name).expanduser()
    if path.suffix != ".py":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def sampled(
    path: Path,
    guider: "Callable[[], Guider]",
    prompts: list[str],
    sampling: "Sampling",
    score: Score,
    reward: str | None,
    progress: "Progress",
) -> list[dict]:
    """A round's rows ``{"prompt", "response", "reward"}``; read back from ``path`` where they are there.

    Args:
        guider: makes the guider when it is needed. prompts: one response is sampled to each.
        progress: ``(stage, step, total, loss)``, called as the responses come.

    Raises:
        UserError: rewards that are not one finite number for each response; a damaged file.
    """
    if path.exists():
        return [row for _, row in objects(path)]
    from guiders import generate

    texts: dict[int, str] = {}
    for one in generate(guider(), prompts, sampling):
        texts[one.index] = one.text
        progress(path.stem, len(texts), len(prompts), None)
    responses = [texts[index] for index in range(len(prompts))]
    rows = []
    rewards = score(prompts, responses)
    for prompt, response, value in zip(prompts, responses, rewards, strict=False):
        try:
            rows.append({"prompt": prompt, "response": response, "reward": float(value)})
        except (TypeError, ValueError):
            raise UserError(f"train.reward={reward}: gave {value!r}; a reward is a finite number") from None
    if len(rows) != len(prompts) or len(rewards) != len(prompts):
        raise UserError(f"train.reward={reward}: gave {len(rewards)} rewards for {len(prompts)} responses")
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def cycle(prompts: list[str], samples: int | None, start: int) -> list[str]:
    """So many prompts, going round from a place among them; all of them once where no number is given.

    One and the same prompt would get one and the same response within a round, so that a round asks each at most once.
    """
    distinct = list(dict.fromkeys(prompts))
    count = len(distinct) if samples is None else min(samples, len(distinct))
    return [distinct[(start + place) % len(distinct)] for place in range(count)]
