"""One guider from overrides: what lm-eval and AlpacaEval evaluate, one setting at a time."""

import sys
from dataclasses import dataclass, field

from harness.config.prompt_step import PromptStep
from harness.config.schema import Grid, SamplingSpec
from harness.errors import UserError
from harness.models.assemble import places
from harness.models.pool import Pool, Resolver
from harness.trials.composed import composed_sweep
from harness.trials.trial import BASE, Setting


@dataclass(frozen=True)
class Guided:
    """One setting of one guider.

    Attributes:
        method, settings, config: as in ``harness.trials.trial.Setting``.
        pool: builds it: ``pool.guider(config)``.
        sampling: only what the overrides themselves set; the rest is null and left to the request.
        seed: the first of ``seeds``.
        on_long_prompt: as in ``harness.config.schema.Task``.
        prompt: the step that puts prompts into a template.
    """

    setting: Setting
    pool: Pool
    sampling: dict
    seed: int
    batch_tokens: int | None
    on_long_prompt: str = "error"
    prompt: PromptStep = field(default_factory=PromptStep)

    @property
    def config(self) -> dict:
        return self.setting.config

    @property
    def info(self) -> dict:
        """Method, settings, seed and the revisions of every model and of code of the user's own."""
        revisions = {place: self.pool.resolver.revision(spec, place) for place, spec in places(self.config)}
        return {
            "guider": self.setting.method,
            "settings": self.setting.settings,
            "seed": self.seed,
            "model_revisions": revisions,
            "code_revisions": self.pool.resolver.code(self.config),
        } | ({} if self.prompt.template is None else {"prompt": self.prompt.model_dump()})


def one_guider(overrides: list[str]) -> Guided:
    """Compose one guider.

    Of a preset's grid with several settings the default one is taken (weight 1, W = 4, K = 4, L = 5, N = 16:
    `harness.config.schema.Grid`), and said on standard error. Asking for two settings at once is an error.

    Raises:
        UserError: bad overrides; overrides that come to several guiders or settings; a grid of several settings
            without the default one.
    """
    if not any(override.startswith("guider=") for override in overrides):
        raise UserError("guider: not given; add guider=NAME, for example guider=ivg")
    composed = composed_sweep(overrides)
    sweep, found = composed.sweep, composed.settings
    if len(sweep.guider) != 1:
        raise UserError(f"guider={sweep.guider}: one guider is evaluated at a time; name one")
    if sweep.guider != [BASE]:
        found = found[1:]  # the base, which a sweep adds
    chosen_setting = _one_setting(found, overrides)
    asked = {override.partition("=")[0] for override in overrides}
    chosen, unset = sweep.sampling.model_dump(), SamplingSpec().model_dump()
    sampling = {name: chosen[name] if f"sampling.{name}" in asked else unset[name] for name in chosen}
    pool = Pool(Resolver(), sweep.device)
    long, step = sweep.task.on_long_prompt, sweep.prompt
    return Guided(chosen_setting, pool, sampling, sweep.seeds[0], sweep.batch_tokens, long, step)


def _one_setting(found: list[Setting], overrides: list[str]) -> Setting:
    """The only setting of a guider's grid, or the default one where no axis was asked for."""
    axes = {axis: list(dict.fromkeys(one.settings[axis] for one in found)) for axis in found[0].settings}
    several = {axis: values for axis, values in axes.items() if len(values) > 1}
    for axis, values in several.items():
        if any(override.startswith((f"grid.{axis}=", f"+grid.{axis}=")) for override in overrides):
            raise UserError(f"grid.{axis}: one setting is evaluated at a time; give one value, not {sorted(values)}")
    if not several:
        return found[0]
    defaults = Grid().model_dump()
    fits = [one for one in found if all(defaults.get(axis) == [one.settings[axis]] for axis in several)]
    if not fits:
        choices = "; ".join(f"grid.{axis}: one of {values}" for axis, values in several.items())
        first = ",".join(f"grid.{axis}={values[0]}" for axis, values in several.items())
        raise UserError(f"guider={found[0].method}: one of {len(found)} settings ({choices}); add for example {first}")
    (setting,) = fits
    taken = ", ".join(f"{axis}={value}" for axis, value in setting.settings.items())
    mend = ",".join(f"grid.{axis}=…" for axis in several)
    print(f"guider={setting.method}: {taken}, one of {len(found)} settings; choose with {mend}", file=sys.stderr)
    return setting
