"""What is measured: the configuration of ``conf/bench.yaml``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from harness.config.compose import choices
from harness.config.nearest import nearest
from harness.config.schema import Count, Names, Part
from harness.errors import UserError

Axis = Literal["prompts", "rows", "context", "length", "new_tokens"]


class Bench(Part):
    """Everything that decides what is measured."""

    base: Literal["gpt2-85m", "llama-85m", "mistral-7b", "gpt2-3m", "tiny"] = Field(
        "gpt2-85m", description="shape of the random base model; guides have its family and vocabulary"
    )
    methods: Names = Field(
        ["ivg", "chunk_implicit", "eft"],
        description="conf/guider names, or all; the first is scaled, and plain has its rows",
    )
    compare: bool = Field(False, description="one table: the rate of every method beside plain chunk search's")
    prompts: Count = Field(16, description="prompts, decoded together by the decoder and by plain generate")
    prompt_tokens: tuple[Count, Count] = Field((32, 128), description="shortest and longest prompt, in tokens")
    new_tokens: Annotated[int, Field(ge=2)] = Field(96, description="tokens of every answer; no end token exists")
    width: Count = Field(4, description="W: hypotheses a chunk beam keeps")
    successors: Count = Field(4, description="K: copies of each kept hypothesis")
    length: Count = Field(8, description="L: tokens in a chunk")
    n: Count = Field(16, description="N of best-of-N")
    rounds: Count = Field(3, description="rounds in which all variants alternate; ratios are medians over them")
    naive_prompts: Count = Field(1, description="prompts of the variants that decode one at a time")
    scaling: list[Axis] = Field(
        ["prompts", "rows", "context", "length", "new_tokens"], description="axes along which the cost is followed"
    )
    vocabulary: Count | None = Field(None, description="ids of all models; null: the family's own number")
    value_head: Literal["scalar", "vocab"] = Field("scalar", description="head of the value model")
    threads: Count = Field(1, description="threads of torch")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="type of all weights")
    device: str = Field("cpu", description="cpu, cuda, cuda:1")
    graphs: bool = Field(False, description="the decoder replays its steps as CUDA graphs; profiled runs never do")
    clock: Literal["wall", "cpu"] = Field(
        "wall", description="what rates and ratios are computed from; cpu where other processes disturb"
    )
    seed: int = Field(0, description="of the weights, the prompts and the answers")
    quick: bool = Field(False, description="at most 4 prompts, 16 new tokens, 1 round, the ends of every axis")
    out: str | None = Field(None, description="the JSON file; null: runs/bench/BASE-DEVICE-TIME.json")

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        if methods == ["all"]:
            return choices("guider")
        for method in methods:
            if method not in choices("guider"):
                raise ValueError(f"{method}: no such guider; {nearest(method, choices('guider'))}")
        return list(dict.fromkeys(methods))

    def resolved(self) -> "Bench":
        """With ``quick`` spelled out.

        Raises:
            UserError: settings that contradict each other.
        """
        if self.prompt_tokens[0] > self.prompt_tokens[1]:
            raise UserError(f"bench.prompt_tokens={list(self.prompt_tokens)}: give the shortest first")
        if self.clock == "cpu" and self.device != "cpu":
            raise UserError(f"bench.clock=cpu: does not see the work of {self.device}; set bench.clock=wall")
        if self.graphs and not self.device.startswith("cuda"):
            raise UserError(f"bench.graphs=true: {self.device} has no CUDA graphs; set bench.device=cuda")
        if not self.quick:
            return self
        small = {"prompts": 4, "new_tokens": 16, "rounds": 1, "naive_prompts": 1}
        return self.model_copy(update={name: min(getattr(self, name), most) for name, most in small.items()})

    @property
    def grid(self) -> dict[str, int | float]:
        """The settings of a guider, by the names of the sweep's axes."""
        return {
            "width": self.width,
            "successors": self.successors,
            "length": self.length,
            "n": self.n,
            "weight": 1.0,
        }


class BenchFile(Part):
    bench: Bench
