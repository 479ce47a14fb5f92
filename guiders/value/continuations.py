"""Log-likelihoods of texts after other texts, in a model's own tokens and without a cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from guiders.kv.full_logits import full_logits
from guiders.kv.log_probs import log_probs
from guiders.models.lm import LM
from guiders.models.vocab import check_ids
from guiders.value.text import TAIL, continued


@dataclass(frozen=True)
class Continuation:
    """A text after another one.

    Attributes:
        ids: of both, the last one's end within the model's context. first: the place of the continuation's first token,
            1 or more.
    """

    ids: list[int]
    first: int

    @property
    def read(self) -> int:
        """Token positions that a model reads: the last token is only predicted."""
        return len(self.ids) - 1


def continuation(lm: LM, before: str, text: str) -> Continuation:
    """The tokens of `before`, with the special ones that the tokenizer adds, and of a text that goes on from it; what
    does not fit the model's context loses its beginning."""
    own = continued(lm, before[-TAIL:], text)
    ids = lm.encode_prompt(before) if lm.template is None else lm.encode_text(before)
    ids = ((ids or lm.encode_prompt("")) + own)[-lm.max_length - 1 :]
    check_ids(ids, lm.config.vocab_size, lm.name)
    return Continuation(ids, max(1, len(ids) - len(own)))


def log_likelihoods(lm: LM, asked: Sequence[Continuation]) -> list[torch.Tensor]:
    """The log-probability of every token of each continuation, ``[n]`` in float64 on the CPU."""
    found: list[torch.Tensor] = []
    for index, logits in full_logits(lm, [one.ids[:-1] for one in asked]):
        one = asked[index]
        following = torch.tensor(one.ids[one.first :], device=logits.device)[:, None]
        found.append(log_probs(logits[one.first - 1 :], following)[:, 0].double().cpu())
    return found
