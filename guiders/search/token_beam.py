"""Token-level beam search: plain, diverse, and with patience."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from guiders.errors import GuiderError
from guiders.search.ends import Tokens
from guiders.search.protocol import Boundary, Search, Selection


@dataclass(frozen=True)
class TokenBeam(Search):
    """Beam search over tokens by the guided log-likelihood; nothing is drawn.

    Of all tokens that can follow the W beams, the 2W likeliest are looked at: those of the first W that end a response
    finish it, and the W likeliest that don't end it go on. Finished responses are ranked by
    ``log p / length^penalty``; the best of them is the answer. One group without diversity is transformers'
    ``num_beams``, token for token.

    - Diverse (Vijayakumar et al. 2018, "Diverse Beam Search", arXiv 1610.02424): W beams in G groups; at every step, a
      group's score of a token is less by λ for each time that earlier groups took it (Hamming diversity).
    - Patience (Kasai et al. 2024, "A Call for Clarity in Beam Search", arXiv 2204.05424): a group of W' beams stops
      with p·W' finished responses; p = 1 is transformers' ``early_stopping=True``.

    Args:
        width: W. groups: G, which divides W. diversity: λ. length_penalty: the exponent of the length.
        patience: p; None: stop where the likeliest beam, at its present length, is no better than the worst of W'
            finished ones (transformers' ``early_stopping=False``).

    Raises:
        GuiderError: a setting out of range.
    """

    width: int = 4
    groups: int = 1
    diversity: float = 0.0
    patience: float | None = None
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "width": (self.width >= 1, "1 or more"),
            "groups": (self.groups >= 1 and self.width % max(self.groups, 1) == 0, "1 or more, and divide the width"),
            "diversity": (0 <= self.diversity < math.inf, "0 or more"),
            "patience": (self.patience is None or 0 < self.patience < math.inf, "above 0"),
            "length_penalty": (math.isfinite(self.length_penalty), "a number"),
        }
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"token beam: {name}={getattr(self, name)} is out of range; it must be {must}")

    @property
    def each(self) -> int:
        """W', running beams of a group."""
        return self.width // self.groups

    @property
    def done(self) -> int:
        """Finished responses of a group that are kept."""
        return self.each if self.patience is None else math.ceil(self.patience * self.each)

    @property
    def survivors(self) -> int:
        """By group: its running beams, then its finished ones."""
        return self.groups * (self.each + self.done)

    @property
    def successors(self) -> int:
        """2W' tokens, and one for each that earlier groups can have made less likely."""
        return 2 * self.each + (self.width - self.each if self.diversity else 0)

    @property
    def rows(self) -> int:
        """W: the running beams alone are read on; a token that is looked at is no row."""
        return self.width

    @property
    def scores(self) -> Literal["never", "end", "boundary"]:
        return "never"

    @property
    def ends(self) -> Tokens:
        return Tokens(1)

    @property
    def expands(self) -> bool:
        return True

    def select(self, boundary: Boundary) -> Selection:
        """Each group in its turn."""
        first, parts = boundary.chunks == 1, []
        taken: list[torch.Tensor] = []
        tokens = _last_tokens(boundary) if self.diversity and self.groups > 1 else None
        for group in range(self.groups):
            start = group * (self.each + self.done) * self.successors
            rows = torch.arange(start, start + self.each * self.successors, device=first.device)
            scores = boundary.log_weights[:, rows]
            # at the beginning all beams are one
            scores = scores.masked_fill(first[:, None] & (rows >= start + self.successors), -torch.inf)
            if tokens is not None and taken:
                repeated = tokens[:, rows, None] == torch.cat(taken, 1)[:, None]
                scores = scores - self.diversity * repeated.sum(-1)
            parts.append(self._group(boundary, start, scores))
            if tokens is not None:
                running = parts[-1][0][:, : self.each]
                idle = parts[-1][1][:, : self.each].isneginf()
                taken.append(tokens.gather(1, running).masked_fill(idle, -1))
        chosen, log_weights = (torch.cat(some, 1) for some in zip(*parts, strict=True))
        return Selection(chosen, log_weights=log_weights, idle=log_weights.isneginf())

    def choose(self, boundary: Boundary) -> torch.Tensor:
        """The best of the finished ones: no beam runs any more."""
        rows = torch.arange(boundary.lengths.shape[1], device=boundary.lengths.device).expand_as(boundary.lengths)
        return self._ranked(boundary, rows, boundary.log_weights).argmax(-1)

    def _group(self, boundary: Boundary, start: int, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and log-weights of a group's survivors, minus infinity for an empty place: ``[P, W' + done]`` each.

        Args:
            start: its first row. scores: ``[P, W'·K]`` of the rows that follow its running beams.
        """
        going, running, ending, finished = self._split(boundary, start, scores)
        return self._settled(boundary, start + self.each * self.successors, (going, running), (ending, finished))

    def _split(self, boundary: Boundary, start: int, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows that go on and their scores, rows that end and theirs: ``[P, W']`` each; minus infinity for no row."""
        values, places = _best(scores, 2 * self.each)
        rows = start + places
        over = boundary.over.gather(1, rows)
        running, kept = _best(values.masked_fill(over, -torch.inf), self.each)
        ending = values.masked_fill(~over, -torch.inf)[:, : self.each]
        return rows.gather(1, kept), running, rows[:, : self.each], ending

    def _settled(
        self, boundary: Boundary, held: int, going: tuple[torch.Tensor, ...], ending: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and log-weights of what goes on, unless that has stopped, then of the best responses that are finished.

        Args:
            held: the row of the first response that is finished already. going, ending: rows and scores.
        """
        (rows, running), (ended, finished) = going, ending
        before = held + torch.arange(self.done, device=rows.device).expand(len(rows), -1) * self.successors
        empty = boundary.chunks[:, None] == 1
        weights = torch.cat([boundary.log_weights.gather(1, before).masked_fill(empty, -torch.inf), finished], 1)
        ended = torch.cat([before, ended], 1)
        ranks, places = _best(self._ranked(boundary, ended, weights), self.done)
        worst = ranks[:, -1:]
        stop = ~worst.isneginf()
        if self.patience is None:
            now = self._by_length(running, boundary.lengths.gather(1, rows))
            stop = stop & (now.amax(1, keepdim=True) <= worst)
        running = running.masked_fill(stop, -torch.inf)
        return torch.cat([rows, ended.gather(1, places)], 1), torch.cat([running, weights.gather(1, places)], 1)

    def _ranked(self, boundary: Boundary, rows: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
        """What finished responses, these rows, are ranked by."""
        return self._by_length(log_weights, boundary.lengths.gather(1, rows))

    def _by_length(self, log_weights: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """``log p / length^penalty``."""
        return log_weights / lengths.clamp_min(1).double() ** self.length_penalty


def _best(scores: torch.Tensor, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The m highest scores ``[P, m]`` and their places; of equals, minus infinity too, the first come first."""
    places = scores.argsort(dim=-1, descending=True, stable=True)[:, :m]
    return scores.gather(1, places), places


def _last_tokens(boundary: Boundary) -> torch.Tensor:
    """Every row's last token, ``[P, R]``; −1 where there is none."""
    last = [[row[-1] if row else -1 for row in slot] for slot in boundary.responses()]
    return torch.tensor(last, device=boundary.limits.device)
