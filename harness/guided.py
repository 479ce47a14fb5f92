"""One guider from overrides: what lm-eval and AlpacaEval evaluate, one setting at a time."""

from dataclasses import dataclass

from harness import tiny
from harness.compose import compose
from harness.config import SamplingSpec, Sweep, validated
from harness.errors import UserError
from harness.models import Pool, Resolver, places
from harness.trials import BASE, Setting, settings_of


@dataclass(frozen=True)
class Guided:
    """One setting of one guider.

    Attributes:
        method, settings, config: as in ``harness.trials.Setting``.
        pool: builds it: ``pool.guider(config)``.
        sampling: only what the overrides themselves set; the rest is null and left to the request.
        seed: the first of ``seeds``.
        on_long_prompt: as in ``harness.config.Task``.
    """

    setting: Setting
    pool: Pool
    sampling: dict
    seed: int
    batch_tokens: int | None
    on_long_prompt: str = "error"

    @property
    def config(self) -> dict:
        return self.setting.config

    @property
    def info(self) -> dict:
        """Method, settings and the revision of every model."""
        revisions = {place: self.pool.resolver.revision(spec, place) for place, spec in places(self.config)}
        return {"guider": self.setting.method, "settings": self.setting.settings, "model_revisions": revisions}


def one_guider(overrides: list[str]) -> Guided:
    """Compose one guider.

    A grid axis with several values is taken at its first one, unless the overrides name the axis: asking for two
    settings at once is an error.

    Raises:
        UserError: bad overrides, or overrides that come to several guiders or settings.
    """
    if not any(override.startswith("guider=") for override in overrides):
        raise UserError("guider: not given; add guider=NAME, for example guider=ivg")
    composed = compose("sweep", overrides)
    config = tiny.replaced(composed.config) if composed.config["models"] == "tiny" else composed.config
    sweep = validated(Sweep, config)
    if len(sweep.guider) != 1:
        raise UserError(f"guider={sweep.guider}: one guider is evaluated at a time; name one")
    found = settings_of(sweep, composed.guider_overrides)
    if sweep.guider != [BASE]:
        found = found[1:]  # the base, which a sweep adds
    for axis in found[0].settings:
        values = {one.settings[axis] for one in found}
        if len(values) > 1 and any(override.startswith(f"grid.{axis}=") for override in overrides):
            raise UserError(f"grid.{axis}: one setting is evaluated at a time; give one value, not {sorted(values)}")
    asked = {override.partition("=")[0] for override in overrides}
    chosen, unset = sweep.sampling.model_dump(), SamplingSpec().model_dump()
    sampling = {name: chosen[name] if f"sampling.{name}" in asked else unset[name] for name in chosen}
    pool = Pool(Resolver(), sweep.device)
    return Guided(found[0], pool, sampling, sweep.seeds[0], sweep.batch_tokens, sweep.task.on_long_prompt)
