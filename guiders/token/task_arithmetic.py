"""Task arithmetic: what tuning changed in a model's weights, added to weights."""

from dataclasses import dataclass
from functools import cached_property

from guiders.models.arithmetic import added
from guiders.models.lm import LM
from guiders.token.implicit import check_weight
from guiders.token.instead import Instead


@dataclass(frozen=True)
class TaskArithmetic(Instead):
    """The policy has the weights ``θ + λ (θ⁺ − θ⁻)`` (Ilharco et al. 2023, arXiv 2212.04089): what `Implicit` does in
    logits, done in weights, which need to be of one shape. It costs one model.

    Args:
        model: θ. tuned: θ⁺. untuned: θ⁻. weight: λ; 0 is the model, and 1 on θ = θ⁻ is the tuned one.

    Raises:
        GuiderError: the weight is not a finite number; once the weights are read, they are of unlike shapes.
    """

    model: LM
    tuned: LM
    untuned: LM
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    @cached_property
    def policy(self) -> LM:
        """A model of its own, made when it is first run."""
        return added(self.model, self.tuned, self.untuned, self.weight)
