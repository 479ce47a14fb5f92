"""The configuration of ``train``: types, ranges, and what each value means."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from harness.config.schema import Count, ModelSpec, Part, SamplingSpec, Weight


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def _as_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Share = Annotated[float, Field(ge=0, lt=1)]
Model = Annotated[ModelSpec, BeforeValidator(_as_path)]


class Data(Part):
    """Where the rows are, and which column is what."""

    path: str | None = Field(None, description="a .jsonl, .csv or .parquet file, or a data set's name on the hub")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    split: str = Field("train", description="split on the hub")
    prompt: str | None = Field("prompt", description="column; null: there are no prompts")
    response: str = Field("response", description="column; where it is missing SFT takes the chosen responses")
    chosen: str = Field("chosen", description="column")
    rejected: str = Field("rejected", description="column")
    reward: str = Field("reward", description="column")
    max_length: Count = Field(1024, description="tokens of prompt and response; longer rows are counted")
    long_rows: Literal["cut", "drop"] = Field("cut", description="what is done with a longer row")


class LoraSpec(Part):
    rank: Annotated[int, Field(ge=0)] = Field(0, description="of the update; 0: all weights are trained")
    alpha: Count = Field(32, description="the update is scaled by alpha / rank")


class TrainingStage(Part):
    """One training: AdamW with a linear warm-up and a cosine decay."""

    epochs: Count = Field(1, description="passes over the rows")
    batch_size: Count = Field(32, description="rows to a step")
    learning_rate: Positive = Field(1e-5, description="its peak")
    warmup: Share = Field(0.05, description="share of the steps in which the learning rate rises")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's")


class SftStage(TrainingStage):
    name: Literal["sft"] = "sft"
    lora: LoraSpec = LoraSpec()


class DpoStage(TrainingStage):
    name: Literal["dpo"] = "dpo"
    beta: Positive = Field(0.1, description="strength of the KL penalty to the untuned model")
    lora: LoraSpec = LoraSpec()


class RewardStage(TrainingStage):
    name: Literal["reward"] = "reward"


class RoundSearch(Part):
    """How the guided rounds search."""

    width: Count = Field(4, description="W")
    successors: Count = Field(4, description="K")
    length: Count = Field(5, description="L, in tokens")


class FudgeStage(TrainingStage):
    name: Literal["fudge"] = "fudge"
    head: Literal["scalar", "vocab"] = Field("scalar", description="V(y≤t), or Q(y<t, ·) over the whole vocabulary")
    loss: Literal["mse", "bce"] | None = Field(None, description="null: bce where all rewards are 0 or 1, else mse")
    init: Model = Field(ModelSpec(), description="backbone of the value; null: the base")
    reward: str | None = Field(
        None, description="scores responses that are sampled here: module:function, or a classifier; null: rows do"
    )
    reward_args: dict[str, Any] = Field({}, description="further arguments of the function or of Classifier.load")
    rounds: Count = Field(1, description="the first samples from the base, each further one from the guided policy")
    samples: Count | None = Field(None, description="responses to sample in a round; null: one for each prompt")
    sampling: SamplingSpec = SamplingSpec()
    search: RoundSearch = RoundSearch()
    tuned: Model = Field(ModelSpec(), description="guides the tokens of the rounds after the first; null: value alone")
    untuned: Model = Field(ModelSpec(), description="its untuned counterpart")
    weight: Weight = Field(1.0, description="weight of that guidance")


class PairStages(Part):
    name: Literal["pair"] = "pair"
    sft: SftStage
    dpo: DpoStage


class AllStages(Part):
    name: Literal["all"] = "all"
    sft: SftStage
    dpo: DpoStage
    fudge: FudgeStage


Choice = Annotated[SftStage | DpoStage | RewardStage | FudgeStage | PairStages | AllStages, Field(discriminator="name")]


class Train(Part):
    train: Annotated[
        SftStage | DpoStage | RewardStage | FudgeStage | PairStages | AllStages, Field(discriminator="name")
    ]
    data: Annotated[Data, BeforeValidator(_as_path)]
    base: Model
    out: str | None = Field(None, description="folder of the trained model")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(0.05, description="share of the prompts kept for the figures")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of data order, split and sampling")
    checkpoint_every: Count = Field(100, description="optimizer steps from one checkpoint to the next")
    device: str = Field("cpu", description="cpu, cuda, cuda:1, mps")

    @property
    def stages(self) -> list[TrainingStage]:
        """The trainings to be done, in their order."""
        if isinstance(self.train, PairStages):
            return [self.train.sft, self.train.dpo]
        if isinstance(self.train, AllStages):
            return [self.train.sft, self.train.dpo, self.train.fudge]
        return [self.train]
