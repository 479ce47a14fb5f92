"""The judges' configurations, and the judge that each of them describes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from harness.config.nearest import nearest
from harness.config.schema import Count, Part, validated
from harness.errors import UserError
from harness.judges.address import check_url, check_variable, key_of
from harness.records.judgement import Judgement, Pair

if TYPE_CHECKING:
    from harness.judges.reward_model import RewardModels


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Share = Annotated[float, Field(ge=0, le=1)]
Annotator = Annotated[str, Field(min_length=1, description="name of an AlpacaEval annotator configuration")]


class Price(Part):
    input: Annotated[float, Field(ge=0), AfterValidator(_finite)]
    output: Annotated[float, Field(ge=0), AfterValidator(_finite)]


class OwnPrice(Part):
    """The price of ``judge.model``, whatever its name; null: see the table."""

    input: Annotated[float, Field(ge=0), AfterValidator(_finite)] | None
    output: Annotated[float, Field(ge=0), AfterValidator(_finite)] | None


class OpenAISpec(Part):
    """See ``conf/judge/openai.yaml``."""

    name: Literal["openai"]
    annotator: Annotator
    model: str | None
    base_url: str
    key_env: str
    insecure: bool = False
    in_flight: Count
    requests_per_minute: Positive | None
    retries: Annotated[int, Field(ge=0)]
    backoff: Positive
    timeout: Positive
    max_missing: Share
    budget_usd: Annotated[float, Field(ge=0), AfterValidator(_finite)] | None
    price: OwnPrice
    prices: dict[str, Price]

    def known_prices(self) -> dict[str, dict[str, float]]:
        """model -> {"input", "output"} in US dollars per million tokens."""
        known = {name: price.model_dump() for name, price in self.prices.items()}
        if self.model is not None and self.price.input is not None and self.price.output is not None:
            known[self.model] = self.price.model_dump()
        return known


class ReplaySpec(Part):
    """See ``conf/judge/replay.yaml``."""

    name: Literal["replay"]
    annotator: Annotator
    model: str | None
    base_url: str | None
    answers: str | None
    max_missing: Share


class RewardSpec(Part):
    """See ``conf/judge/reward.yaml``."""

    name: Literal["reward"]
    model: str | None
    revision: str | None
    batch_size: Count
    device: str
    max_missing: Share


JudgeSpec = OpenAISpec | ReplaySpec | RewardSpec
SPECS: dict[str, type[JudgeSpec]] = {
    "openai": OpenAISpec,
    "replay": ReplaySpec,
    "reward": RewardSpec,
}


def judge_spec(config: dict | None) -> JudgeSpec:
    """The checked configuration of a judge.

    Raises:
        UserError: no judge, an unknown one, or a wrong value, with what it must be; what may be a secret is not shown.
    """
    config = config or {}
    name = config.get("name")
    if name not in SPECS:
        raise UserError(f"judge={name}: no such judge; {nearest(str(name), SPECS)}")
    if config.get("base_url") is not None:  # first: an error about another value may not show what these hide
        check_url(config["base_url"])
    if "key_env" in config:
        check_variable(config["key_env"])
    try:
        return validated(SPECS[name], config)
    except UserError as error:
        raise UserError(f"judge.{error}") from None


def check_ready(spec: JudgeSpec) -> None:
    """Hold a judge to what can be known before it is asked anything; no library is imported.

    Raises:
        UserError: no key for OpenAI's own server, a key that would go unencrypted, an annotator that AlpacaEval does
            not have, no file of answers.
    """
    if isinstance(spec, OpenAISpec | ReplaySpec):
        from harness.adapters.annotators import annotator_file

        annotator_file(spec.annotator)
    if isinstance(spec, OpenAISpec):
        key_of(spec.base_url, spec.key_env, spec.insecure)
    if isinstance(spec, ReplaySpec) and spec.answers is not None and not Path(spec.answers).is_file():
        raise UserError(f"judge.answers={spec.answers}: no such file; record answers with judge=openai")


def is_of(judge: str, spec: JudgeSpec) -> bool:
    """Whether a judgement's ``judge`` is the configured one; told from its name, so that nothing is loaded."""
    if spec.name == "reward":
        return judge == f"reward:{spec.model}"
    annotator, _, model = judge.partition(":")
    return annotator == Path(spec.annotator).name and spec.model in (None, model)


class Judge(Protocol):
    """Compares responses."""

    def judge(self, pairs: Sequence[Pair], baseline: str, folder: Path) -> list[Judgement]:
        """A judgement of every pair, in their order; what may be kept of it is kept in the folder."""
        ...


def build_judge(spec: JudgeSpec, task: str | None = None, rewards: "RewardModels | None" = None) -> Judge:
    """The judge that a configuration describes.

    Args:
        task: the task's name, for a reward judge without a model: its gold reward.
        rewards: the reward models that the run has already.
    """
    settings = spec.model_dump(exclude={"name", "max_missing"})
    if spec.name == "openai":
        from harness.judges.openai_judge import OpenAIJudge

        del settings["price"]
        return OpenAIJudge(**{**settings, "prices": spec.known_prices()})
    if spec.name == "replay":
        from harness.judges.replay import ReplayJudge

        return ReplayJudge(**settings)
    from harness.judges.reward import RewardJudge
    from harness.judges.reward_model import RewardModels, gold_reward

    if spec.model is not None:
        path = settings.pop("model")
        return RewardJudge(f"reward:{spec.model}", (rewards or RewardModels()).get(path, **settings))
    return RewardJudge(f"gold:{task}", gold_reward(task))
