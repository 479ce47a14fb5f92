"""A guide with a memory as its definition has it: asked anew for every token, with whole texts and no cache."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from guiders.kv.exclusive import exclusive
from guiders.models.lm import LM
from guiders.sampling import Sampling, signed_key
from guiders.search import Sample
from guiders.token.guidance import Guidance, SoFar

if TYPE_CHECKING:
    from guiders.guider import Guider


class WholeText:
    """In the place of a lane: one model's logits after a text, with or without an alternative."""

    def __init__(self, lm: LM, prompt: list[int]):
        self.lm, self.text = lm, prompt

    def logits(self, more: Sequence[int] = ()) -> torch.Tensor:
        """``[V]`` after the text and these tokens."""
        ids = torch.tensor([[*self.text, *more]], device=self.lm.device)
        with exclusive(self.lm.model):
            return self.lm.model(input_ids=ids, use_cache=False).logits[0, -1]

    def peek(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[1, 1, 1, m]`` -> ``[1, 1, 1, m, V]``."""
        return torch.stack([self.logits([token]) for token in tokens.flatten().tolist()])[None, None, None]


@torch.inference_mode()
def replayed(
    guider: "Guider",
    prompt: object,
    tokens: Sequence[int],
    sampling: Sampling | None = None,
    rows: Sequence[int] | None = None,
) -> list[torch.Tensor]:
    """Guided logits ``[V]`` before every token of a response and after the last, by new states that are shown one token
    after the other; nothing is cached, and no boundary comes between.

    Args:
        sampling: whose uniform numbers the guides see. rows: the row, among its slot's, that was to draw each of
            ``len(tokens) + 1`` tokens; the first one throughout where None.
    """
    alone = replace(guider, search=Sample(), value=None)
    texts = [WholeText(lm, lm.encode_prompt(prompt)) for lm in guider.models]
    guidance = _Replayed(alone, sampling or Sampling(), texts, 1)
    guidance.admit([0], [prompt])
    device, key = guider.base.device, signed_key(guider.base.encode_prompt(prompt))
    response = torch.tensor([[list(tokens)]], dtype=torch.long, device=device)
    found = []
    for t in range(len(tokens) + 1):
        guidance.row = rows[t] if rows else 0
        here = torch.full((1,), key, dtype=torch.long, device=device)
        so_far = SoFar(response[..., :t], torch.full((1, 1), t, device=device), here, torch.full_like(here, t))
        guidance.begin(so_far)
        counts = torch.zeros(1, 1, 1, dtype=torch.long, device=device)
        logits = [text.logits().to(device)[None, None, None] for text in texts]
        guided = guidance.guide(logits, response[:, :, None, :0], counts, torch.ones_like(counts, dtype=torch.bool))
        found.append(guided.flatten())
        if t < len(tokens):
            guidance.weigh(response[..., t : t + 1])
            for text in texts:
                text.text = [*text.text, int(tokens[t])]
    return found


class _Replayed(Guidance):
    """Guidance whose only row stands for one that had another place."""

    row = 0

    def _numbers(self, stream: int, shape: torch.Size, column: int, m: int) -> torch.Tensor:
        return self.numbered(stream, torch.full((1, 1), self.row, device=self.so_far.keys.device), column, m)
