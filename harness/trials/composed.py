"""From overrides to a sweep and the settings of its guiders: the one way to compose, for every verb and adapter."""

from dataclasses import dataclass
from typing import Any

from harness.config.compose import compose
from harness.config.schema import Sweep, validated
from harness.config.task_file import with_dev
from harness.models import tiny
from harness.trials.grid import settings_of
from harness.trials.trial import Setting


@dataclass(frozen=True)
class ComposedSweep:
    """What overrides come to.

    Attributes:
        sweep: the checked configuration.
        settings: every setting of every chosen guider, the base first.
        guider_overrides: (dotted key inside a guider, value), as they were given.
    """

    sweep: Sweep
    settings: list[Setting]
    guider_overrides: list[tuple[str, Any]]


def composed_sweep(overrides: list[str]) -> ComposedSweep:
    """Compose ``conf/sweep.yaml`` with overrides, check it, and lay out its grid; nothing is loaded.

    ``models=tiny`` is carried out here. Figures of publications are kept where they were measured with this base.

    Raises:
        UserError: an override that does not parse, an unknown key or choice, a wrong value, a grid without a point.
    """
    composed = compose("sweep", overrides)
    named = composed.config["model"]["base"]["path"]
    about = [figure for figure in composed.config["published"] if figure["model"] == named]
    config = {**composed.config, "published": about}
    config = tiny.replaced(config) if config["models"] == "tiny" else config
    sweep = validated(Sweep, config)
    if sweep.select.metric and not sweep.task.names:
        sweep = sweep.model_copy(update={"task": with_dev(sweep.task)})
    return ComposedSweep(sweep, settings_of(sweep, composed.guider_overrides), composed.guider_overrides)
