"""What the methods are made of, read from their configurations and parts: the table and the page of ``guiders``."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.config.compose import choices
from harness.errors import UserError
from harness.methods.method import Method, method
from harness.methods.references import citation
from harness.models.located import located
from harness.trials.composed import composed_sweep
from harness.trials.grid import AXIS, MODEL

PARTS = ("token", "value", "search")


@dataclass(frozen=True)
class Listed:
    """A method as it is listed.

    Attributes:
        classes: "token", "value", "search" -> the classes that make the part; a part that is not there is left out.
        axes: axis -> its default values in a sweep.
        models: roles of the models that it reads, what it guides first.
        likelihoods: whether lm-eval's log-likelihood requests are answered: its distribution is normalised and it
            searches nothing.
    """

    method: Method
    classes: dict[str, list[type]]
    axes: dict[str, list]
    models: list[str]
    likelihoods: bool

    @property
    def parts(self) -> dict[str, list[str]]:
        """The names of `classes`."""
        return {part: [one.__name__ for one in some] for part, some in self.classes.items()}

    @property
    def citations(self) -> list[str]:
        """What it cites, in a line each."""
        return [citation(key) for key in self.method.about.cite]


def listed(name: str) -> Listed:
    """A method with its parts, axes and models; imports the parts, and loads no model.

    Raises:
        UserError: no such method; a part that does not import; an axis that nobody gives a value.
    """
    found = method(name)
    text = str(found.config)
    grid = _default_axes()
    axes = {}
    for axis in dict.fromkeys(AXIS.findall(text)):
        values = found.about.axes.get(axis, grid.get(axis))
        if values is None:
            raise UserError(f"{name}: grid.{axis} has no value; give one under about.axes")
        axes[axis] = values
    classes = {part: _classes(found.config.get(part)) for part in PARTS}
    likelihoods = not classes["search"] and all(getattr(one, "normalised", True) for one in classes["token"])
    there = {part: some for part, some in classes.items() if some}
    return Listed(found, there, axes, list(dict.fromkeys(MODEL.findall(text))), likelihoods)


def all_listed() -> list[Listed]:
    """Every method of ``conf/guider``, by name."""
    return [listed(name) for name in choices("guider")]


@cache
def _default_axes() -> dict[str, list]:
    """The axes of a sweep without overrides."""
    return composed_sweep([]).sweep.grid.model_dump()


def _classes(node: Any) -> list[type]:
    """The classes of a part, in order, the outer before the inner."""
    if isinstance(node, list):
        return [one for item in node for one in _classes(item)]
    if not isinstance(node, dict):
        return []
    own = [located(node["_target_"], "conf/guider")] if "_target_" in node else []
    return own + [one for name, value in node.items() if name != "_target_" for one in _classes(value)]
