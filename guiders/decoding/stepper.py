"""The steps between two boundaries: the decoder's hot loop, whose step may be captured as a CUDA graph.

Every shape is fixed and nothing is read back from the device, but for a look every 16 steps at whether all rows have
ended. A 7B model's forward pass launches about a thousand small kernels, which takes longer than they run; replaying a
graph launches them at once. One step is captured, not a chunk: which column it writes is a number on the device, so
that a graph serves all steps for as long as the caches are read to the same column.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guiders.decoding.next_token import most_likely, next_token
from guiders.decoding.stops import stop_ids
from guiders.errors import GuiderError
from guiders.guider import Guider
from guiders.kv.lane import Lane
from guiders.models.lm import LM
from guiders.sampling import Sampling
from guiders.search.protocol import Search
from guiders.search.sample import QUANTUM
from guiders.token.guidance import Guidance


@dataclass
class Steps:
    """What the rows have done since the last boundary; tensors ``[P, S, K, n]`` unless said otherwise.

    Attributes:
        tokens: the drawn tokens, 0 where the row was not running. numbers: the uniform numbers to draw by.
        counts: ``[P, S, K]`` tokens that the row added. ended: ``[P, S, K]`` it has ended with an end token.
        alive: ``[P, S, K]`` it goes on. remaining: ``[P, S]`` tokens the survivor may still get.
        kl: nats. over_base, acceptance: see `NextToken`. ratios: log π⁺ − log π⁻ of the token, where
            wanted. weights: log-weights of the token, where guides with a memory may give some, and its
            log-probability where the search expands.
        changed: did guidance change the most likely token? where wanted.
        ranks: ids that the base finds more likely than the token; where `changed` is wanted.
        finite: ``[]`` every running row had a number to draw by.
        alone: ``[P, S, K]`` its survivor is continued in one row (`Search.tries`); where that varies.
        column: ``[1]`` the next column, for steps that are replayed.
    """

    tokens: torch.Tensor
    numbers: torch.Tensor
    counts: torch.Tensor
    ended: torch.Tensor
    alive: torch.Tensor
    remaining: torch.Tensor
    kl: torch.Tensor
    over_base: torch.Tensor | None
    ratios: torch.Tensor | None
    changed: torch.Tensor | None
    ranks: torch.Tensor | None
    finite: torch.Tensor
    column: torch.Tensor
    weights: torch.Tensor | None = None
    alone: torch.Tensor | None = None
    acceptance: torch.Tensor | None = None

    @property
    def measured(self) -> dict[str, torch.Tensor | None]:
        """Numbers of every column that add up along a response, by name; None where there are none."""
        return {"kl": self.kl, "over_base": self.over_base, "acceptance": self.acceptance}

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, those that there are."""
        return {name: x for name, x in vars(self).items() if x is not None}

    def first(self, n: int) -> "Steps":
        """Of the first n columns, in tensors of its own."""
        columns = ("tokens", "numbers", "kl", "over_base", "ratios", "changed", "ranks", "weights", "acceptance")
        cut = {name: (x[..., :n] if name in columns else x).clone() for name, x in self.tensors().items()}
        return Steps(**(vars(self) | cut))


class Stepper:
    """Draws tokens for all rows, step by step.

    Args:
        lanes: of `Guider.models`. wanted: see `Scorer.wants_ratio`. trace: record `Steps.changed`.
        graphs: replay CUDA graphs; the lanes must be fixed.
        guidance: the guides with a memory, where there are some; its chunk has begun when `run` is called.

    Raises:
        GuiderError: graphs on a device that has none, or with a guide that has a memory.
    """

    def __init__(
        self,
        guider: Guider,
        sampling: Sampling,
        lanes: list[Lane],
        wanted: tuple[int, int] | None,
        trace: bool,
        graphs: bool,
        guidance: Guidance | None = None,
    ):
        if graphs and guidance:
            name = type(guider.remembering[0]).__name__
            raise GuiderError(f"{name} has a memory, which can't be captured as CUDA graphs; leave graphs off")
        self.guidance = guidance
        self.guider, self.sampling, self.lanes, self.wanted, self.trace = guider, sampling, lanes, wanted, trace
        ends = (*guider.base.eos_ids, *stop_ids(guider.base, sampling.stop))
        self.eos = _members(ends, guider.base)
        self.search, self.ends, self.expands = guider.search, guider.search.ends, guider.search.expands
        self.varies = type(self.search).tries is not Search.tries
        last = self.ends.after(guider.base)
        self.last = _members(last, guider.base) if last else None
        self.look = 4 if self.ends.ragged else QUANTUM  # steps between looks at whether all rows are done
        self.measures_kl = bool(guider.guides) or sampling.temperature == 0 or sampling.cuts
        self.graphs = Graphs(self.step, lanes) if graphs else None

    def run(self, active: torch.Tensor, ended: torch.Tensor, remaining: torch.Tensor, numbers: torch.Tensor) -> Steps:
        """Step to the next boundary.

        Args:
            active: ``[P]`` slots with a prompt. ended: ``[P, S]``.
            remaining: ``[P, S]`` tokens a survivor may still get.
            numbers: ``[P, S, K, n]`` uniform numbers.

        Raises:
            GuiderError: guided logits that are not numbers.
        """
        taken, n = self.begin(active, ended, remaining, numbers), numbers.shape[-1]
        if self.graphs:
            taken = self.graphs.hold(taken)
        for t in range(n):
            if self.graphs and t:
                self.graphs.step()
            else:
                self.step(taken, t)
            if (t + 1) % self.look == 0 and t + 1 < n and not bool(taken.alive.any()):
                n = t + 1
                break
        for lane in self.lanes:
            lane.offset = n - 1
        if not bool(taken.finite):
            raise GuiderError(
                f"the guided logits of {self.guider.base.name} are not numbers; use another dtype or a smaller weight"
            )
        return taken.first(n) if self.graphs or n < numbers.shape[-1] else taken

    def begin(self, active: torch.Tensor, ended: torch.Tensor, remaining: torch.Tensor, numbers: torch.Tensor) -> Steps:
        """Nothing done yet; see `run`."""
        shape, device = numbers.shape, numbers.device
        zeros = torch.zeros(shape, dtype=torch.float64, device=device)
        return Steps(
            tokens=torch.zeros(shape, dtype=torch.long, device=device),
            numbers=numbers,
            counts=torch.zeros(shape[:3], dtype=torch.long, device=device),
            ended=ended[..., None].expand(shape[:3]).clone(),
            alive=(active[:, None] & ~ended & (remaining > 0))[..., None].expand(shape[:3]).clone(),
            remaining=remaining.clone(),
            kl=zeros,
            over_base=torch.zeros_like(zeros) if self.measures_kl else None,
            ratios=None if self.wanted is None else torch.zeros_like(zeros),
            changed=torch.zeros(shape, dtype=torch.bool, device=device) if self.trace else None,
            ranks=torch.zeros(shape, dtype=torch.long, device=device) if self.trace else None,
            finite=torch.ones((), dtype=torch.bool, device=device),
            column=torch.ones(1, dtype=torch.long, device=device),
            weights=torch.zeros_like(zeros) if self.guidance or self.expands else None,
            alone=torch.zeros(shape[:3], dtype=torch.bool, device=device) if self.varies else None,
            acceptance=None if self.guider.draft is None else torch.zeros_like(zeros),
        )

    def step(self, taken: Steps, t: int | torch.Tensor) -> None:
        """Every running row draws one token, in place.

        Args:
            t: the column; where it is a tensor ``[1]``, which columns come before is not known on the host.
        """
        first = isinstance(t, int) and t == 0
        logits = [lane.next_logits if first else lane.step(_take(taken.tokens, t - 1)) for lane in self.lanes]
        if not first and (stop := self.ends.before(logits[0], taken.counts)) is not None:
            taken.alive &= ~stop
        # at the first step one distribution serves all successors of a survivor, later each row has its own
        if taken.alone is not None and (tries := self.search.tries(logits[0])) is not None:
            if first:
                taken.alive &= torch.arange(taken.alive.shape[-1], device=tries.device) < tries[..., None]
                taken.alone[:] = (tries == 1)[..., None]
            else:
                taken.alive &= ~(taken.alone & (tries > 1))
        numbers = _take(taken.numbers, t) if first else _take(taken.numbers, t)[..., None]
        guided = None
        if self.guidance:
            guided = self.guidance.guide(logits, taken.tokens[..., :t], taken.counts, taken.alive)
        if self.expands:
            new = most_likely(self.guider, logits, numbers.shape[-1], guided, self.wanted)
        else:
            asked = (self.measures_kl, self.wanted, self.trace)
            new = next_token(self.guider, self.sampling, logits, numbers, *asked, guided)
        of_rows = (lambda x: x[..., None].expand(taken.alive.shape)) if first else (lambda x: x)
        tokens = torch.where(taken.alive, new.tokens if first else new.tokens[..., 0], 0)
        _put(taken.tokens, t, tokens)
        if self.guidance and (weights := self.guidance.weigh(tokens)) is not None:
            assert taken.weights is not None  # as there is guidance
            _put(taken.weights, t, weights)
        if taken.weights is not None and new.log_probs is not None:
            taken.weights[..., t] += new.log_probs
        if taken.ratios is not None and new.ratio is not None:
            _put(taken.ratios, t, new.ratio if first else new.ratio[..., 0])
        if new.kl is not None:
            _put(taken.kl, t, of_rows(new.kl))
        if taken.over_base is not None and new.over_base is not None:
            _put(taken.over_base, t, new.over_base if first else new.over_base[..., 0])
        if taken.acceptance is not None and new.acceptance is not None:
            _put(taken.acceptance, t, of_rows(new.acceptance))
        if taken.changed is not None and new.changed is not None:
            _put(taken.changed, t, of_rows(new.changed))
        if taken.ranks is not None and new.rank is not None:
            _put(taken.ranks, t, new.rank if first else new.rank[..., 0])
        taken.finite &= (of_rows(new.finite) | ~taken.alive).all()
        taken.counts += taken.alive
        taken.ended |= taken.alive & self.eos[tokens]
        taken.alive &= ~taken.ended & (t + 1 < taken.remaining)[..., None]
        if self.last is not None:
            taken.alive &= ~self.last[tokens]


class Graphs:
    """Captured steps, one for each set of shapes, addresses and columns that they read.

    The first step under a key is eager: it allocates what it needs and warms up the libraries. The second is captured.

    Args:
        step: ``(taken, column)``; reads the lanes besides.
    """

    def __init__(self, step: Callable[[Steps, int | torch.Tensor], None], lanes: list[Lane]):
        self.one, self.lanes = step, lanes
        self.taken: Steps | None = None
        self.places: tuple = ()
        self.replays: dict[tuple, Callable[[], None] | None] = {}
        self.pool: Any = None  # a handle, of a private type of torch

    def hold(self, taken: Steps) -> Steps:
        """The same state, in the memory that the graphs work on."""
        if self.taken is None or self.taken.tokens.shape != taken.tokens.shape:
            self.taken = taken
            self.forget()
        else:
            for name, held in self.taken.tensors().items():
                held.copy_(getattr(taken, name))
        return self.taken

    def forget(self) -> None:
        """Drop what was captured, and the memory that it shared: torch refuses a pool that no graph holds any more."""
        self.replays, self.pool = {}, None

    def step(self) -> None:
        """One step, by replay where it has been captured."""
        places, key = zip(*(lane.addresses() for lane in self.lanes), strict=True)
        if places != self.places:
            self.places = places
            self.forget()  # a cache has moved: what was captured reads the old place
        if key not in self.replays:
            self.replays[key] = None
            self.eager()
            return
        replay = self.replays[key] = self.replays[key] or self.capture()
        replay()

    def eager(self) -> None:
        """One step, now; ready for the next one."""
        assert self.taken is not None  # `hold` comes first
        self.one(self.taken, self.taken.column)
        self.taken.column += 1

    def capture(self) -> Callable[[], None]:
        """A function that does what `eager` does, wherever the columns are."""
        if not torch.cuda.is_available():
            raise GuiderError("CUDA graphs need a CUDA device; leave graphs off")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self.eager()
        self.pool = self.pool or graph.pool()
        return graph.replay


def _members(ids: Sequence[int], base: LM) -> torch.Tensor:
    """Which ids are among these, ``[V]``: ``torch.isin`` sorts where there are many, which waits for the device."""
    table = torch.zeros(max(base.config.vocab_size, *ids, 0) + 1, dtype=torch.bool, device=base.device)
    table[torch.tensor(ids, dtype=torch.long, device=base.device)] = True
    return table


def _take(x: torch.Tensor, t: int | torch.Tensor) -> torch.Tensor:
    """Column t of ``[..., n]``: ``[...]``."""
    return x[..., t] if isinstance(t, int) else x.index_select(-1, t)[..., 0]


def _put(x: torch.Tensor, t: int | torch.Tensor, new: torch.Tensor) -> None:
    """Write column t of ``[..., n]``."""
    if isinstance(t, int):
        x[..., t] = new
    else:
        x.index_copy_(-1, t, new[..., None].to(x.dtype))
