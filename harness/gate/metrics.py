"""What the gate holds: figures, the loss of each that is accepted, and which way is better."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from harness.config.nearest import nearest
from harness.config.schema import Part
from harness.errors import UserError
from reports.direction import Directions
from reports.gate.statistics import Metric


class Held(Part):
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="loss that is accepted, in the metric's unit"
    )
    direction: Literal["higher", "lower", "same"] | None = Field(
        None,
        description="which way is better; same: neither, it must not move by more than the tolerance; null: the task's",
    )


def directed(held: dict[str, Held], directions: Directions) -> dict[str, Held]:
    """What is held, each in its own direction or else the task's; what is better neither way must stay the same."""
    own = {name: rule.direction or directions.of(name) or "same" for name, rule in held.items()}
    return {name: rule.model_copy(update={"direction": own[name]}) for name, rule in held.items()}


def rows(held: dict[str, Held]) -> Iterator[tuple[str, list[Metric]]]:
    """The rows of the gate by the figure they hold: one each, but two for what may move neither way."""
    for name, rule in held.items():
        both = {f"{name} not lower": "higher", f"{name} not higher": "lower"}
        directions = both if rule.direction == "same" else {name: rule.direction or "higher"}
        yield name, [Metric(row, rule.tolerance, direction) for row, direction in directions.items()]


def metrics(held: dict[str, Held]) -> list[Metric]:
    """Every row of the gate."""
    return [row for _, some in rows(held) for row in some]


def columns(side: dict, held: dict[str, Held]) -> dict:
    """A run's or a baseline's figures, under the names of the gate's rows."""
    settings = {
        setting: {row.name: found[name] for name, some in rows(held) if name in found for row in some}
        for setting, found in side["settings"].items()
    }
    return {**side, "settings": settings}


def refuse_unmeasured(side: str, figures: dict, held: dict[str, Held]) -> None:
    """Raises UserError where a setting of a run or a baseline has no such figure."""
    for setting, found in figures["settings"].items():
        for name in held:
            if name not in found:
                raise UserError(f"metrics.{name}: {setting!r} of the {side} has no such figure; {nearest(name, found)}")
