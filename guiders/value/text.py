"""A value whose tokenizer is not the base's: it scores the text of a response, in its own tokens."""

from collections.abc import Callable

import torch

from guiders.full_logits import full_logits
from guiders.lm import LM


class TextScorer:
    """Scores every hypothesis' text from scratch at each boundary: token boundaries differ, so no cache of the
    base's fits.

    Args:
        base: whose tokens the responses are. models: the value's models.
        of_response: ``(lm, logits [n, V], tokens [n], start) -> value``; the models' parts add up.
    """

    wants_ratio = None

    def __init__(self, base: LM, models: list[LM], of_response: Callable, slots: int, search):
        self.base, self.models, self.of_response = base, models, of_response
        self.prompts: list = [None] * slots
        self.rows = search.survivors * search.successors
        self._positions = torch.zeros(slots, dtype=torch.long)

    def admit(self, slots, prompts):
        for slot, prompt in zip(slots.tolist(), prompts, strict=True):
            self.prompts[slot] = self.base.decode(list(prompt)) if _is_tokens(prompt) else prompt

    def score(self, chunk):
        values = torch.zeros(chunk.counts.shape, dtype=torch.float64).flatten(1)
        added, ended = chunk.counts.flatten(1).tolist(), chunk.ended.flatten(1).tolist()
        where, texts = [], []
        for slot, rows in enumerate(chunk.responses()):
            if self.prompts[slot] is None:
                continue
            for row, tokens in enumerate(rows):
                if added[slot][row]:
                    where.append((slot, row))
                    texts.append((self.text(tokens), ended[slot][row]))
        self._positions.zero_()
        for lm in self.models:
            inputs, starts = [], []
            for (slot, _), (text, has_ended) in zip(where, texts, strict=True):
                prompt = lm.encode_prompt(self.prompts[slot])
                response = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
                if has_ended and lm.tokenizer.eos_token_id is not None:
                    response = [*response, lm.tokenizer.eos_token_id]
                # a text that is still inside its first character has no token yet: the prompt alone is scored
                inputs.append((prompt + response)[-lm.max_length :])
                starts.append(len(inputs[-1]) - len(response))
                self._positions[slot] += len(response)
            for i, logits in full_logits(lm, inputs):
                tokens = torch.tensor(inputs[i], device=logits.device)
                values[where[i]] += self.of_response(lm, logits, tokens, max(1, starts[i])).double().cpu()
        return values.view(chunk.counts.shape).to(chunk.values)

    def text(self, tokens: list[int]) -> str:
        """The text so far, without a last character whose bytes are not all there yet."""
        text = self.base.decode(tokens)
        return text.rstrip("\ufffd") if text.endswith("\ufffd") else text

    def commit(self, parents, rows, counts, pending, identity):
        pass

    def keep(self, slots, longest):
        self.prompts = [self.prompts[slot] for slot in slots.tolist()]
        self._positions = self._positions[slots.cpu()]

    def passes(self, counts, survivors):
        return self._positions.to(survivors)


def _is_tokens(prompt) -> bool:
    return not isinstance(prompt, str) and not (len(prompt) and isinstance(prompt[0], dict))
