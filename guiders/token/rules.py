"""Hand-written rules: biases on words, on the first word, on what came before, and on the end."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View
from guiders.token.seen import seen

if TYPE_CHECKING:
    from guiders.guider import Guider

Table = Mapping[str, float] | str


@dataclass(frozen=True)
class Rules(TokenGuide):
    """Adds biases to the logits: a product of experts whose second expert is written by hand (Hewitt et al. 2024,
    arXiv 2409.14254, where three rules make base models follow instructions).

    After n tokens of the response: ``words[v]`` always, ``first[v]`` at n = 0, ``end · n / ramp`` on end tokens for
    n < ramp, and ``seen`` once on every id that the response has.

    Args:
        words, first: string -> bias, or the path of a JSON file of that; each string is one token of the base.
        end, ramp: the bias on end tokens that is reached after `ramp` tokens. seen: on ids that have come.

    Raises:
        GuiderError: a number out of range; a file that is no such table; once the base is known, a string that is
            several of its tokens.
    """

    words: Table = field(default_factory=dict)
    first: Table = field(default_factory=dict)
    end: float = 0.0
    ramp: int = 250
    seen: float = 0.0
    memory = True

    def __post_init__(self) -> None:
        for name in ("words", "first"):
            object.__setattr__(self, name, _table(name, getattr(self, name)))
        for name in ("end", "seen"):
            if not math.isfinite(getattr(self, name)):
                raise GuiderError(f"rules: {name}={getattr(self, name)} is out of range; it must be a finite number")
        if self.ramp < 1:
            raise GuiderError(f"rules: ramp={self.ramp} is out of range; it must be 1 or more")

    def check_base(self, base: LM) -> None:
        for table in (self.words, self.first):
            for text in table:
                one_token(base, text)

    def off(self) -> "Rules":
        """No rules."""
        return Rules()

    def state(self, guider: "Guider", slots: int) -> GuideState:
        return _State(self, guider)


def one_token(base: LM, text: str) -> int:
    """The id of a string that is one token; GuiderError where it is several."""
    ids = base.encode_text(text, special=False)
    if len(ids) != 1:
        raise GuiderError(f"rules: {text!r} is {len(ids)} tokens of {base.name}; give a string that is one token")
    return ids[0]


def _table(name: str, table: Table) -> dict[str, float]:
    read: object = table
    if isinstance(table, str):
        try:
            read = json.loads(Path(table).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise GuiderError(f"rules: {name}={table}: {why}; give a JSON file {{string: bias}}") from None
    if not isinstance(read, Mapping) or not all(
        isinstance(text, str) and isinstance(bias, (int, float)) and math.isfinite(bias) for text, bias in read.items()
    ):
        raise GuiderError(f"rules: {name}={table!r:.80} is no table; give {{string: bias}}, finite numbers")
    return dict(read)


class _State(GuideState):
    def __init__(self, rules: Rules, guider: "Guider"):
        self.rules, base = rules, guider.base
        self.biases = {}  # of every id, ``[V]``
        for name, table in (("words", rules.words), ("first", rules.first)):
            self.biases[name] = torch.zeros(guider.vocabulary, dtype=torch.float64, device=base.device)
            for text, bias in _table(name, table).items():
                self.biases[name][one_token(base, text)] += bias
        self.ends = torch.zeros(guider.vocabulary, dtype=torch.float64, device=base.device)
        self.ends[[i for i in base.eos_ids if i < guider.vocabulary]] = rules.end

    def guide(self, view: View) -> torch.Tensor:
        n = view.step[..., None].double()
        bias = self.biases["words"] + self.biases["first"] * (n == 0)
        bias = bias + self.ends * torch.where(n < self.rules.ramp, n / self.rules.ramp, 0.0)
        if self.rules.seen:
            bias = bias + self.rules.seen * seen(view)
        return view.guided + bias.to(view.guided)
