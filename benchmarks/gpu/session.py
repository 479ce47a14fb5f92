"""One session on a device: its settings, its time, its models, and what is installed."""

import gc
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec

import torch

from guiders import LM, ChunkBeam, Explicit, Guider, Implicit
from harness.bench.shapes import SHAPES, made
from harness.errors import UserError

WIDTH, SUCCESSORS, LENGTH = 2, 2, 30  # W, K and L of chunk beam search on AlpacaEval (Liu et al. 2024, section 4.3)
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "triton")
TESTED = {"torch": (2, 6), "transformers": (4, 57)}  # from here on
FULL = ("hydra", "pydantic", "lm_eval", "alpaca_eval", "pandas", "scipy", "sklearn")  # what a whole sweep needs besides


@dataclass(frozen=True)
class Step:
    """A piece of a stage, which ends with a line of figures.

    Attributes:
        seconds: what it is expected to take on an H200; it is not begun with less time left.
    """

    name: str
    work: Callable[[], dict]
    seconds: float = 10.0


class Session:
    """What the stages share.

    Args:
        minutes: from now on. shape: of `SHAPES`; None: the largest whose four models fit. quick: tiny shapes, few rows.

    Raises:
        UserError: no such device, or versions below those that this was written for.
    """

    def __init__(self, device: str, minutes: float, shape: str | None = None, quick: bool = False):
        self.device, self.quick = torch.device(device), quick
        self.until = time.monotonic() + 60 * minutes
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            raise UserError(f"--device {device}: not usable here ({str(error).splitlines()[0]})") from None
        for name, least in TESTED.items():
            if _version(metadata.version(name)) < least:
                raise UserError(
                    f"{name} {metadata.version(name)}: too old; install {name}>={'.'.join(map(str, least))}"
                )
        self.shape = shape or self._fitting()
        self.dtype = torch.bfloat16

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def _fitting(self) -> str:
        """The largest shape whose base, pair and value fit into four fifths of the free memory, caches besides."""
        if self.quick or not self.cuda:
            return "tiny"
        free = torch.cuda.mem_get_info(self.device)[0]
        return "mistral-7b" if free > 75e9 else "llama-1b" if free > 14e9 else "tiny"

    @cached_property
    def models(self) -> dict[str, LM]:
        """``base``, ``tuned``, ``untuned`` and ``value``, made when first asked for."""
        torch.manual_seed(0)
        return made(SHAPES[self.shape], self.dtype, self.device)

    def guider(self, method: str) -> Guider:
        """``base``, ``eft`` or ``ivg``."""
        models = self.models
        pair = Implicit(models["tuned"], models["untuned"], 1.0)
        if method == "ivg":
            return Guider(models["base"], pair, Explicit(models["value"]), ChunkBeam(WIDTH, SUCCESSORS, LENGTH))
        return Guider(models["base"], pair if method == "eft" else None)

    def header(self) -> dict:
        """The machine, the versions and the settings: what figures of one file have in common."""
        return {
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "device": torch.cuda.get_device_name(self.device) if self.cuda else str(self.device),
            "memory": torch.cuda.get_device_properties(self.device).total_memory if self.cuda else None,
            "cuda": torch.version.cuda,
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in PACKAGES if find_spec(name)},
            "shape": self.shape,
            "quick": self.quick,
            "cannot": cannot(self.device),
        }

    def clear(self) -> None:
        """Give memory back that no tensor needs."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()


def cannot(device: torch.device) -> list[str]:
    """What is not measured here, and why, a line each."""
    found = []
    if device.type != "cuda":
        found.append(f"graphs, the bandwidth of a GPU, flash kernels: the device is {device}")
    elif not find_spec("triton"):
        found.append("FlexAttention and torch.compile: triton is not installed")
    if lacking := without_sweep():
        found.append(f"the embedded sweep: {lacking}")
    return found


def without_sweep() -> str | None:
    """Why no sweep can run here; None where one can."""
    if missing := [name for name in FULL if not find_spec(name)]:
        return f"{', '.join(missing)} not installed"
    installed = metadata.version("transformers")
    return f"it needs transformers 5, and {installed} is installed" if _version(installed) < (5, 0) else None


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("+")[0].split(".")[:2])
