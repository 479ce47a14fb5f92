"""The sweep's configuration: types, ranges, and what each value means."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from harness.config.nearest import nearest
from harness.config.prompt_step import PromptStep
from harness.errors import UserError
from reports.direction import Directions
from reports.guard import Guard


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _guard(text: str) -> str:
    Guard.parse(text)
    return text


def _budget(text: str) -> str:
    Guard.of_budget(text)
    return text


Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Counts = Annotated[list[Count], BeforeValidator(_as_list), Field(min_length=1)]
Weights = Annotated[list[Weight], BeforeValidator(_as_list), Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_as_list), Field(min_length=1)]
Guards = Annotated[list[Annotated[str, AfterValidator(_guard)]], BeforeValidator(_as_list)]
Texts = Annotated[list[str], BeforeValidator(_as_list)]
Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(Part):
    """What ``guiders.LM.load`` is called with."""

    path: str | None = Field(None, description="a folder, a hub name, or embedded:base|tuned|untuned|value")
    head: Literal["lm", "value", "classifier", "encoder"] = Field(
        "lm",
        description="lm: a language model; value: a value model; classifier: a sequence classifier; "
        "encoder: a text encoder",
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="type of the weights")
    template: str | None = Field(None, description="prompt template with {prompt}; null: the prompt as it is")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")
    max_length: Count | None = Field(None, description="tokens of prompt and response; null: as many as the model has")
    device_map: str | dict[str, Any] | None = Field(
        None, description="transformers' own: auto spreads the model over all GPUs; null: all of it goes to device"
    )
    quantization_config: dict[str, Any] | None = Field(
        None, description="transformers' own, as {load_in_4bit: true}; null: weights as dtype says"
    )


class Gold(Part):
    """A model whose reward of prompt and response is the score ``gold_reward``."""

    path: str | None = Field(
        None, description="a sequence classifier, or a model with a score_head; null: the task's own"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    template: str | None = Field(None, description="with {prompt} and {response}; null: chat template or pair of texts")


class PublishedFigure(Part):
    """A figure of a publication, shown beside ours."""

    metric: str = Field(description="a column of the report, as lc_win_rate")
    model: str = Field(description="the base model that it was measured with")
    base: float = Field(description="without guidance")
    guided: float = Field(description="with it")
    source: str = Field(description="where it stands")


class Task(Part):
    name: str | None = Field(None, description="lm-eval name of the task")
    names: Texts = Field([], description="any lm-eval tasks: their own scores, guided against unguided")
    dev: str | None = Field(None, description="task whose prompts choose the settings; null: half of the prompts")
    path: str | None = Field(None, description="an lm-eval YAML file, or a folder of them")
    data: str | None = Field(None, description="a local file that the task's own loader reads instead of its source")
    n_dev: Count | None = Field(None, description="dev prompts; null: all")
    n_test: Count | None = Field(None, description="test prompts; null: all")
    num_fewshot: Annotated[int, Field(ge=0)] | None = Field(None, description="few-shot examples; null: the task's own")
    apply_chat_template: bool = Field(False, description="prompts go through the base model's chat template")
    system_instruction: str | None = Field(None, description="system message, with the chat template")
    on_long_prompt: Literal["error", "truncate"] = Field(
        "error",
        description="prompts that fill a model's context: all are named, or each loses its beginning",
    )
    gold: Gold = Field(Gold(), description="a model that scores the responses")


class Grid(Part):
    """The axes of a sweep; own guiders may name further axes (``+grid.alpha=[1,2]``)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    weight: Weights = Field([1.0], description="weight of token guidance, 0 or more")
    width: Counts = Field([4], description="W: hypotheses a chunk beam keeps")
    successors: Counts = Field([4], description="K: copies of each kept hypothesis")
    length: Counts = Field([5], description="L: tokens in a chunk")
    n: Counts = Field([16], description="N of best-of-N")
    rows: Count | None = Field(None, description="keep only searches of so many rows (W·K, N); null: every combination")

    @field_validator("*")
    @classmethod
    def _no_repeats(cls, values: Any) -> Any:
        return list(dict.fromkeys(values)) if isinstance(values, list) else values

    def axis(self, name: str) -> list:
        """The values of an axis.

        Raises:
            KeyError: no such axis.
        """
        values = self.model_dump()
        if name == "rows":
            raise KeyError(name)
        found = _as_list(values[name])
        return [value for place, value in enumerate(found) if value not in found[:place]]


class SamplingSpec(Part):
    """How tokens are drawn; null: as the task's own ``generation_kwargs`` say."""

    temperature: Annotated[float, Field(ge=0), AfterValidator(_finite)] | None = Field(
        None, description="divides the guided logits; 0: greedy; null: the task's own"
    )
    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="0: off; null: the task's own")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="1: off; null: the task's own")
    min_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="least share of the likeliest token's probability; 0: off; null: the task's own"
    )
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="mass of the tokens nearest to the entropy; 1: off; null: the task's own"
    )
    coupling: Literal["inverse", "gumbel"] | None = Field(
        None, description="gumbel: like distributions give like texts; null: inverse"
    )
    max_new_tokens: Count | None = Field(None, description="limit of an answer; null: the task's own")
    stop: Texts = Field([], description="texts that end an answer, besides the task's own")


class Select(Part):
    metric: str | None = Field(
        "gold_reward", description="score whose dev mean chooses a method's setting; null: every setting on all prompts"
    )
    guard: Guards = Field([], description="bounds on dev means that a chosen setting keeps, as [fluency>=0.8,kl<=20]")
    budget: Annotated[str, AfterValidator(_budget)] | None = Field(
        None, description="mean forward passes per token that a chosen setting may cost at most, as passes:32"
    )
    seeds: Seeds = Field([0], description="seeds of the dev trials")

    @property
    def bounds(self) -> list[Guard]:
        """The guards, and the budget as one."""
        budget = [] if self.budget is None else [Guard.of_budget(self.budget)]
        return [*map(Guard.parse, self.guard), *budget]

    @field_validator("metric")
    @classmethod
    def _has_a_direction(cls, metric: str | None) -> str | None:
        if metric is not None and Directions().of(metric) is None:
            raise ValueError("neither a higher nor a lower one is better; choose by a score of the task")
        return metric


class Record(Part):
    trace: bool = Field(False, description="record what guidance and search did at every step, for the report")


class BackendSpec(Part):
    name: Literal["serial", "ray"] = Field("serial", description="serial: in this process; ray: by Ray actors")
    workers: Count | None = Field(None, description="of Ray; null: as many as there is room for")
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = Field(
        None, description="GPUs of a worker, a fraction packs small models; null: 1 where device is cuda, else 0"
    )
    cpus_per_worker: Count = Field(1, description="cores, and threads of torch, of a worker")
    address: str | None = Field(None, description="null: this machine; auto or HOST:PORT: a running Ray cluster")


def _folder(name: str) -> str:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError("a folder's name is needed; for another place give run_dir=PATH")
    return name


class Sweep(Part):
    name: Annotated[str, AfterValidator(_folder)] = Field(description="name of the run")
    run_dir: str = Field(min_length=1, description="folder of the run")
    guider: Names = Field(description="conf/guider names, or YAML files; base is always added")
    seeds: Seeds = Field([0, 1], description="seeds of the test trials")
    task: Task
    model: dict[str, Annotated[ModelSpec, BeforeValidator(_as_path)]]
    grid: Grid
    prompt: Annotated[PromptStep, BeforeValidator(lambda value: value or {})] = PromptStep()
    sampling: SamplingSpec
    select: Select
    judge: dict[str, Any] | None = Field(None, description="who compares each answer with the base's; null: nobody")
    device: str = Field("cpu", description="cpu, cuda, cuda:1, mps")
    backend: BackendSpec = Field(BackendSpec(), description="where blocks of prompts are decoded")
    block: Count = Field(64, description="prompts that are decoded and recorded together")
    batch_tokens: Count | None = Field(None, description="most tokens in a batch's caches; null: chosen by the decoder")
    memory: Annotated[float, Field(gt=0), AfterValidator(_finite)] | None = Field(
        None, description="GB that decoding may take besides the weights; null: what machine and container have left"
    )
    record: Record = Field(default_factory=Record)
    models: Literal["named", "tiny"] = Field("named", description="tiny: random models in place of published ones")
    published: list[PublishedFigure] = Field([], description="figures to show beside ours")


def validated(schema: type[BaseModel], values: dict) -> Any:
    """Check values against a schema.

    Raises:
        UserError: the first wrong value, with its key, what it must be, and for an unknown key the nearest right one.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(error, schema, values)) from None


def _one_line(error: ValidationError, schema: type[BaseModel], values: dict) -> str:
    first = error.errors()[0]
    place = _key(first["loc"], values)
    if first["type"] == "extra_forbidden":
        return f"{place}: no such key; {nearest(place, keys(schema))}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if isinstance(first["input"], list) and first["type"] != "too_short":
        message += "; it takes one value: quote a text that holds commas"
    if first["type"] == "missing":
        return f"{place}: not set; give {place}=VALUE"
    return f"{place}={first['input']!r}: {message}"


def _key(place: tuple[int | str, ...], values: Any) -> str:
    """The dotted key of a place in the values, without what pydantic adds: the tag of a union's member."""
    found = []
    for part in place:
        tag = isinstance(values, dict) and part not in values and part != place[-1]
        if isinstance(part, str) and not tag:
            found.append(part)
        if isinstance(values, dict):
            values = values.get(part, values)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
    return ".".join(found)


def keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """The dotted keys of a schema."""
    found = []
    for name, info in schema.model_fields.items():
        found.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += keys(info.annotation, f"{prefix}{name}.")
    return found
