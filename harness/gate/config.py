"""What the gate is asked: which run is held to what, and how closely."""

from typing import Annotated, Literal

from pydantic import Field

from harness.config.schema import Part
from harness.gate.metrics import Held


class SameModelsSpec(Part):
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="of a setting's records, how many may differ by more than rounding"
    )
    metrics: Annotated[dict[str, Held], Field(min_length=1)] = Field(
        {}, description="what is held where records differ: METRIC: {tolerance, direction}"
    )


class Gate(Part):
    run: str = Field("runs/gate", description="folder of the run to judge")
    baseline: str = Field("baselines/embedded.json", description="file that gate --record wrote")
    split: Literal["dev", "test", "all"] | None = Field(
        None, description="prompts to compare on; null: those that the report reports"
    )
    junit: str | None = Field(None, description="JUnit XML for CI; null: gate.xml in the run's folder")
    metrics: Annotated[dict[str, Held], Field(min_length=1)] = Field(
        {}, description="what is held: METRIC: {tolerance, direction}"
    )
    against: str | None = Field(
        None,
        description="instead of the baseline: merge-base, a commit or a folder of code, which decodes the same models, "
        "or the folder of another run of them",
    )
    accepted: str | None = Field(
        None, description="file of the differences that are meant; null: what baselines/accepted.yaml adds"
    )
    same_models: SameModelsSpec = Field(SameModelsSpec(), description="how little may differ on the same models")
