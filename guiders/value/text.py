"""A value whose tokenizer is not the base's: it scores the text of a response, in its own tokens."""

import torch

from guiders.kv.full_logits import full_logits
from guiders.kv.lane import Lane
from guiders.kv.log_probs import log_probs
from guiders.models.lm import LM
from guiders.models.prompt import LongPrompt, as_text
from guiders.models.vocab import check_ids
from guiders.search import Search
from guiders.value.growing import Frozen, cuts_at_spaces, grown
from guiders.value.protocol import Chunk

TAIL = 64  # characters of the prompt that can have a part in how a response is cut into tokens


def continued(lm: LM, before: str, text: str) -> list[int]:
    """The tokens of a text that goes on from another one, without those of the other.

    A tokenizer may begin every text with a token of its own (SentencePiece's "▁" stands for a space), so both texts are
    tokenised together, and the tokens of the first are taken away. Where a token reaches from one into the other, the
    text follows a line break instead, and where that is no boundary either, it stands alone.
    """
    for start in (before, "\n"):
        first, both = (lm.encode_text(one, special=False) for one in (start, start + text))
        if both[: len(first)] == first:
            return both[len(first) :]
    return lm.encode_text(text, special=False)


class TextScorer:
    """Scores every hypothesis' text at each boundary, from a cache of the value's own tokens.

    More text can change the last tokens of the text before it, so a row goes on from the longest beginning that its
    tokens share with its parent's, less one token, whose logits say how likely the next one was. A text that does not
    fit a model's context loses its beginning.

    Args:
        base: whose tokens the responses are.
        models: the value's models, and signs: how their parts add up.
        kind: "log_prob": the sum of the tokens' log-probabilities; "mean_log_prob": their mean; "scalar": the last
            position's output; "vocab": the last token's logit one position earlier.
    """

    wants_ratio: tuple[int, int] | None = None

    def __init__(self, base: LM, models: list[LM], signs: list[float], kind: str, slots: int, search: Search):
        self.base, self.signs = base, signs
        self.readers = [_TextReader(lm, kind, slots, search) for lm in models]
        self.prompts: list = [None] * slots
        self._positions = torch.zeros(slots, dtype=torch.long)

    def admit(self, slots: list[int], prompts: list) -> None:
        for slot, prompt in zip(slots, prompts, strict=True):
            self.prompts[slot] = as_text(self.base, prompt)
        for reader in self.readers:
            reader.admit(slots, [self.prompts[slot] for slot in slots])

    def score(self, chunk: Chunk) -> torch.Tensor:
        asked, ended = chunk.asked(), chunk.ended.flatten(1).tolist()
        texts: dict[tuple[int, int], tuple[str, bool]] = {}
        for slot, rows in enumerate(chunk.responses()):
            for row, tokens in enumerate(rows):
                if self.prompts[slot] is not None and asked[slot][row]:
                    texts[slot, row] = (chunk.text(tokens), ended[slot][row])
        values = torch.zeros(chunk.counts.shape, dtype=torch.float64).flatten(1)
        self._positions.zero_()
        for reader, sign in zip(self.readers, self.signs, strict=True):
            for (slot, row), (value, positions) in reader.score(texts).items():
                values[slot, row] += sign * value
                self._positions[slot] += positions
        return values.view(chunk.counts.shape).to(chunk.values)

    def commit(
        self,
        parents: torch.Tensor,
        rows: torch.Tensor,
        counts: torch.Tensor,
        pending: torch.Tensor,
        identity: bool,
        starts: torch.Tensor | None = None,
    ) -> None:
        # what is kept is seen at the next score, by its text
        for reader in self.readers:
            reader.commit(parents, rows, identity)

    def keep(self, slots: torch.Tensor) -> None:
        self.prompts = [self.prompts[slot] for slot in slots.tolist()]
        self._positions = self._positions[slots.cpu()]
        for reader in self.readers:
            reader.keep(slots)

    def shrink(self, longest: int) -> None:
        for reader in self.readers:
            reader.lane.shrink(max((len(read) for slot in reader.read for read, _ in slot), default=0))

    def passes(self, counts: torch.Tensor, survivors: torch.Tensor) -> torch.Tensor:
        return self._positions.to(survivors)

    @property
    def evaluated(self) -> int:
        return sum(reader.lane.evaluated for reader in self.readers)


class _TextReader:
    """One model reading texts that share their beginnings.

    Attributes:
        read: ``[P][S]`` the tokens each survivor has in the cache, and a score for each (see `TextScorer`'s kinds).
        tails: ``[P]`` the last characters of each prompt, as this model reads it.
        grows: is a text's beginning tokenised once? frozen: ``[P][S]`` what of each survivor's is.
    """

    def __init__(self, lm: LM, kind: str, slots: int, search: Search):
        self.lane = Lane(lm, slots, search.survivors, search.successors, columns=1)
        self.lm, self.kind, self.mean = lm, kind.removeprefix("mean_"), kind.startswith("mean_")
        self.survivors, self.successors = search.survivors, search.successors
        self.read: list[list[tuple[list[int], list[float]]]] = [[([], [])] * self.survivors for _ in range(slots)]
        self.prompts: list[list[int]] = [[] for _ in range(slots)]
        self.tails = [""] * slots
        self.grows = cuts_at_spaces(lm)
        self.frozen = [[Frozen()] * self.survivors for _ in range(slots)]
        self._frozen: dict[tuple[int, int], Frozen] = {}
        self._rows: dict[tuple[int, int], tuple[list[int], list[float], int]] = {}

    def admit(self, slots: list[int], prompts: list) -> None:
        ids = [self.lm.encode_prompt(prompt) for prompt in prompts]
        for slot, prompt in zip(slots, prompts, strict=True):
            self.tails[slot] = self.lm.render(prompt.prompt if isinstance(prompt, LongPrompt) else prompt)[-TAIL:]
        self.lane.prefill(slots, ids)
        for slot, prompt in zip(slots, ids, strict=True):
            self.read[slot], self.prompts[slot] = [([], [])] * self.survivors, prompt
            self.frozen[slot] = [Frozen()] * self.survivors

    def score(self, texts: dict[tuple[int, int], tuple[str, bool]]) -> dict[tuple[int, int], tuple[float, int]]:
        """(slot, row) -> text and whether it has ended; gives (slot, row) -> value and the positions that were read."""
        new: dict[tuple[int, int], list[int]] = {}
        found: dict[tuple[int, int], tuple[float, int]] = {}
        starts = self.lane.starts.tolist()
        begin = [
            [starts[p][row // self.successors] for row in range(self.survivors * self.successors)]
            for p in range(len(starts))
        ]
        for (slot, row), (text, ended) in texts.items():
            tokens = self._encode(text, ended, slot, row)
            if len(self.prompts[slot]) + len(tokens) > self.lm.max_length:
                found[slot, row] = self._without_cache(slot, tokens)
                continue
            before, _ = self.read[slot][row // self.successors]
            shared = next(
                (i for i, (a, b) in enumerate(zip(tokens, before, strict=False)) if a != b),
                min(len(tokens), len(before)),
            )
            begin[slot][row] = max(0, shared - 1)
            new[slot, row] = tokens
        width = max((len(tokens) - begin[slot][row] for (slot, row), tokens in new.items()), default=0)
        outputs = self._outputs(new, begin, width) if width else []
        for (slot, row), tokens in new.items():
            start, (_, old) = begin[slot][row], self.read[slot][row // self.successors]
            fresh: list[float] = outputs[slot][row][: len(tokens) - start] if tokens else []
            if self.kind == "scalar":
                scores = [*old[:start], *fresh]
            else:
                head = old[: start + 1] if start else [self._first(slot, tokens[0])] if tokens else []
                scores = [*head, *fresh[: len(tokens) - start - 1]]
            self._rows[slot, row] = (tokens, scores, start)
            found[slot, row] = (self._value(slot, scores), len(tokens) - start)
        return found

    def _encode(self, text: str, ended: bool, slot: int, row: int) -> list[int]:
        def whole(text: str) -> list[int]:
            return continued(self.lm, self.tails[slot], text)

        if self.grows:
            tokens, frozen = grown(self.lm, self.frozen[slot][row // self.successors], text, whole)
            self._frozen[slot, row] = frozen
        else:
            tokens = whole(text)
        check_ids(tokens, self.lm.config.vocab_size, self.lm.name)
        if ended and self.lm.tokenizer.eos_token_id is not None:
            tokens = [*tokens, self.lm.tokenizer.eos_token_id]
        return tokens

    def _without_cache(self, slot: int, tokens: list[int]) -> tuple[float, int]:
        """Value and positions of a text that is longer than the context: of its end, read anew."""
        ids = (self.prompts[slot] + tokens)[-self.lm.max_length :]
        (_, logits), *_ = full_logits(self.lm, [ids])
        if self.kind == "scalar":
            return float(logits[-1, 0]), len(ids)
        if self.kind == "vocab":
            return float(logits[-2, ids[-1]]), len(ids)
        following = torch.tensor(ids[1:], device=logits.device)[:, None]
        found = log_probs(logits[:-1], following)[-len(tokens) :].double()
        return float(found.mean() if self.mean else found.sum()), len(ids)

    def _outputs(self, new: dict[tuple[int, int], list[int]], begin: list[list[int]], width: int) -> list:
        """The model's output at every new position, as the kind wants it: ``[P][S·K][width]`` numbers."""
        slots, rows = len(begin), len(begin[0])
        tokens = torch.zeros(slots, rows, width, dtype=torch.long)
        targets = torch.zeros_like(tokens)
        for (slot, row), ids in new.items():
            fresh = torch.tensor(ids[begin[slot][row] :], dtype=torch.long)
            tokens[slot, row, : len(fresh)] = fresh
            targets[slot, row, : max(0, len(fresh) - 1)] = fresh[1:]
        shape = (slots, self.survivors, self.successors, -1)
        tokens, targets = (x.view(shape).to(self.lane.device) for x in (tokens, targets))
        starts = torch.tensor(begin, device=self.lane.device).view(shape[:3])
        parts = []
        for at, logits in self.lane.consume_in_parts(tokens, starts):
            if self.kind == "scalar":
                parts.append(logits[..., 0])
                continue
            following = targets[..., at : at + logits.shape[-2], None]
            chosen = log_probs(logits, following) if self.kind == "log_prob" else logits.gather(-1, following)
            parts.append(chosen[..., 0])
        return torch.cat(parts, -1).flatten(1, 2).double().tolist()

    def _first(self, slot: int, token: int) -> float:
        logits = self.lane.after_prompt[slot]
        if self.kind == "log_prob":
            return float(log_probs(logits[None], torch.tensor([[token]], device=logits.device)))
        return float(logits[token])

    def _value(self, slot: int, scores: list[float]) -> float:
        if self.kind == "log_prob":
            return sum(scores) / max(1, len(scores)) if self.mean else sum(scores)
        if scores:
            return scores[-1]
        # a text that is still inside its first character has no token yet: the prompt alone is scored
        if self.kind == "scalar":
            return float(self.lane.after_prompt[slot, 0])
        (_, logits), *_ = full_logits(self.lm, [self.prompts[slot]])
        return float(logits[-2, self.prompts[slot][-1]]) if len(logits) > 1 else 0.0

    def commit(self, parents: torch.Tensor, rows: torch.Tensor, identity: bool) -> None:
        starts: list[list[int]] = []
        counts: list[list[int]] = []
        chosen, before, frozen = rows.tolist(), self.read, self.frozen
        self.frozen = [
            [self._frozen.get((slot, row), frozen[slot][row // self.successors]) for row in some]
            for slot, some in enumerate(chosen)
        ]
        self._frozen = {}
        self.read = []
        for slot, (survivors, old) in enumerate(zip(chosen, before, strict=True)):
            self.read.append([])
            starts.append([])
            counts.append([])
            for row in survivors:
                tokens, scores = old[row // self.successors]
                start = len(tokens)
                if (slot, row) in self._rows:
                    tokens, scores, start = self._rows[slot, row]
                self.read[-1].append((tokens, scores))
                starts[-1].append(start)
                counts[-1].append(len(tokens) - start)
        self._rows = {}
        self.survivors = rows.shape[1]
        self.lane.commit(parents, rows, torch.tensor(counts), identity, torch.tensor(starts))

    def keep(self, slots: torch.Tensor) -> None:
        kept = slots.tolist()
        self.read, self.prompts = [self.read[slot] for slot in kept], [self.prompts[slot] for slot in kept]
        self.tails = [self.tails[slot] for slot in kept]
        self.frozen = [self.frozen[slot] for slot in kept]
        self.lane.keep(slots)
