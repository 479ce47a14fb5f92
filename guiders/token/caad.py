"""CAAD: the nearest stored contexts of annotated answers say which next tokens to favour."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from guiders.errors import GuiderError
from guiders.kv.full_logits import full_logits
from guiders.models.encoder import Encoder
from guiders.models.lm import LM
from guiders.token.protocol import GuideState, TokenGuide, View

if TYPE_CHECKING:
    from guiders.guider import Guider

Answers = Sequence[Mapping[str, str]] | str


@dataclass(frozen=True)
class CAAD(TokenGuide):
    """``logits(v) + λ · mean_c logits(v | c)`` over the N stored contexts c nearest to the text so far (context-aware
    adaptive decoding, Nguyen et al. 2025, arXiv 2508.02184).

    The stored contexts are an annotated prompt and every beginning of its answer; each is kept with its vector and with
    the base's logits after it. Nearest is by the cosine of the vectors, equals in the order of the answers. The text so
    far, prompt and response, is encoded anew before each token: that is counted in `Generation.forward_passes`.

    Args:
        encoder: an `Encoder`, or a language or value model, whose mean last hidden state is then the vector.
        answers: rows {"prompt", "response"}, about ten; or the path of a JSON-lines file of them.
        weight: λ. contexts: N, stored contexts that are averaged; all where there are fewer.

    Raises:
        GuiderError: a setting out of range; what is no encoder; a file or rows that are no answers.
    """

    encoder: Encoder | LM
    answers: Answers
    weight: float = 0.5
    contexts: int = 5
    memory = True

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, Encoder | LM):
            raise GuiderError(f"CAAD: encoder is a {type(self.encoder).__name__}; load one with Encoder.load(PATH)")
        if not math.isfinite(self.weight):
            raise GuiderError(f"CAAD: weight={self.weight} is out of range; it must be a finite number")
        if self.contexts < 1:
            raise GuiderError(f"CAAD: contexts={self.contexts} is out of range; it must be 1 or more")
        object.__setattr__(self, "answers", _rows(self.answers))

    @cached_property
    def encodes(self) -> Encoder:
        """The encoder itself."""
        return self.encoder if isinstance(self.encoder, Encoder) else Encoder.of(self.encoder)

    @cached_property
    def _stores(self) -> dict[int, "_Store"]:
        return {}

    def off(self) -> "CAAD":
        """Weight 0."""
        return replace(self, weight=0.0)

    def state(self, guider: "Guider", slots: int) -> GuideState:
        store = self._stores.get(id(guider.base))
        if store is None and self.weight:  # once for all decoders
            store = self._stores[id(guider.base)] = _Store(self, guider)
        return _State(self, store, guider, slots)

    def vector(self, base: LM, ids: list[int]) -> torch.Tensor:
        """Of a text, ``[d]`` of length 1; by itself, as no text is to be padded for another."""
        return torch.nn.functional.normalize(self.encodes.embed([base.decode(ids)], end=True)[0], dim=0)


class _Store:
    """The stored contexts: their vectors ``[N, d]`` and the base's logits ``[N, V]`` after each."""

    def __init__(self, settings: CAAD, guider: "Guider"):
        self.base = base = guider.base  # kept alive with what was made of it
        texts = []
        for row in _rows(settings.answers):
            texts.append((base.encode_prompt(row["prompt"]), base.encode_text(row["response"], special=False)))
        vectors, logits = [], []
        for (_, found), (prompt, answer) in zip(full_logits(base, [[*p, *a] for p, a in texts]), texts, strict=True):
            logits.append(found[len(prompt) - 1 : -1, : guider.vocabulary].double())
            vectors += [settings.vector(base, [*prompt, *answer[:t]]) for t in range(len(answer))]
        self.vectors, self.logits = torch.stack(vectors), torch.cat(logits)

    def nearest(self, vector: torch.Tensor, n: int) -> torch.Tensor:
        """The mean logits ``[V]`` after the n nearest contexts."""
        places = (self.vectors @ vector).argsort(descending=True, stable=True)[:n]
        return self.logits[places.to(self.logits.device)].mean(0)


class _State(GuideState):
    def __init__(self, settings: CAAD, store: _Store | None, guider: "Guider", slots: int):
        self.settings, self.store, self.base = settings, store, guider.base
        self.prompts: list[list[int]] = [[]] * slots
        self.needed = torch.zeros(slots, dtype=torch.long)
        self.evaluated = 0

    def admit(self, slots: list[int], prompts: list) -> None:
        for slot, prompt in zip(slots, prompts, strict=True):
            self.prompts[slot] = self.base.encode_prompt(prompt)

    def guide(self, view: View) -> torch.Tensor:
        if self.store is None or not self.settings.weight:
            return view.guided
        tokens, lengths = (x.tolist() for x in view.tokens())
        more = torch.zeros(view.guided.shape, dtype=torch.float64, device=view.guided.device)
        before = self.settings.encodes.evaluated
        for p, s, k in view.running.nonzero().tolist():
            ids = [*self.prompts[p], *tokens[p][s][k][: lengths[p][s][k]]]
            more[p, s, k] = self.store.nearest(self.settings.vector(self.base, ids), self.settings.contexts)
            self.needed[p] += self.settings.encodes.positions(self.base.decode(ids))
        self.evaluated += self.settings.encodes.evaluated - before
        return view.guided + self.settings.weight * more.to(view.guided)

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        needed, self.needed = self.needed.to(survivors.device), torch.zeros_like(self.needed)
        return needed

    def keep(self, slots: torch.Tensor) -> None:
        self.prompts, self.needed = [self.prompts[slot] for slot in slots.tolist()], self.needed[slots.cpu()]


def _rows(answers: Answers) -> list[dict[str, str]]:
    read: object = answers
    if isinstance(answers, str):
        try:
            lines = Path(answers).expanduser().read_text(encoding="utf-8").splitlines()
            read = [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise GuiderError(f"CAAD: answers={answers}: {why}; give rows {{prompt, response}} in JSON lines") from None
    rows = list(read) if isinstance(read, Sequence) else []
    for row in rows:
        texts = [row.get(name) for name in ("prompt", "response")] if isinstance(row, Mapping) else [None]
        if not all(isinstance(text, str) and text for text in texts):
            raise GuiderError(f"CAAD: answers hold {row!r:.80}; each is {{prompt, response}}, two texts")
    if not rows:
        raise GuiderError("CAAD: answers are empty; give rows {prompt, response}")
    return [{name: row[name] for name in ("prompt", "response")} for row in rows]
