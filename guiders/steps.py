"""The steps between two boundaries: the decoder's hot loop, which may be captured as a CUDA graph.

Every shape is fixed and nothing is read back from the device, but for a look every 16 steps at whether all rows have
ended (left out of a graph). A 7B model's forward pass launches about a thousand small kernels, which takes longer than
they run; replaying a graph launches them at once.
"""

from dataclasses import dataclass, fields

import torch

from guiders.errors import GuiderError
from guiders.guider import Guider
from guiders.lane import Lane
from guiders.next_token import next_token
from guiders.sampling import Sampling
from guiders.search.sample import QUANTUM


@dataclass
class Steps:
    """What the rows did in n steps; all tensors ``[P, S, K, n]`` unless said otherwise.

    Attributes:
        tokens: the drawn tokens, 0 where the row was not running.
        counts: ``[P, S, K]`` tokens that the row added. ended: ``[P, S, K]`` it has ended with an end token.
        ratios: log π⁺ − log π⁻ of the token, where wanted. kl: nats.
        changed: did guidance change the most likely token?
        finite: ``[]`` every running row had a number to draw by.
    """

    tokens: torch.Tensor
    counts: torch.Tensor
    ended: torch.Tensor
    ratios: torch.Tensor | None
    kl: torch.Tensor
    changed: torch.Tensor | None
    finite: torch.Tensor


class Stepper:
    """Draws tokens for all rows, step by step.

    Args:
        lanes: the base's, then the token guides'. wanted: see `Scorer.wants_ratio`. trace: record `Steps.changed`.
        graphs: replay CUDA graphs; each combination of shapes and addresses is captured the second time it is met.

    Raises:
        GuiderError: graphs on a device that has none.
    """

    def __init__(self, guider: Guider, sampling: Sampling, lanes: list[Lane], wanted: int | None, trace, graphs):
        self.guider, self.sampling, self.lanes, self.wanted, self.trace = guider, sampling, lanes, wanted, trace
        self.eos = torch.tensor(guider.base.eos_ids, dtype=torch.long, device=guider.base.device)
        self.measures_kl = bool(guider.guides) or sampling.temperature == 0 or sampling.top_k > 0 or sampling.top_p < 1
        self.graphs = Graphs(self._steps, lanes) if graphs else None

    def run(self, active, ended, remaining, numbers) -> Steps:
        """Step to the next boundary.

        Args:
            active: ``[P]`` slots with a prompt. ended: ``[P, S]``. remaining: ``[P]`` tokens a response may still get.
            numbers: ``[P, S, K, n]`` uniform numbers.

        Raises:
            GuiderError: guided logits that are not numbers.
        """
        if self.graphs:
            taken = self.graphs.run(active, ended, remaining, numbers)
        else:
            taken = self._steps(active, ended, remaining, numbers, look=True)
        if not bool(taken.finite):
            raise GuiderError(
                f"the guided logits of {self.guider.base.name} are not numbers; use another dtype or a smaller weight"
            )
        return taken

    def _steps(self, active, ended, remaining, numbers, look: bool = False) -> Steps:
        shape, device = numbers.shape, numbers.device
        alive = (active[:, None] & ~ended)[..., None].expand(shape[:3])
        ended = ended[..., None].expand(shape[:3])
        tokens = torch.zeros(shape, dtype=torch.long, device=device)
        counts = torch.zeros(shape[:3], dtype=torch.long, device=device)
        ratios = None if self.wanted is None else torch.zeros(shape, dtype=torch.float64, device=device)
        kl = torch.zeros(shape, dtype=torch.float64, device=device)
        changed = torch.zeros(shape, dtype=torch.bool, device=device) if self.trace else None
        finite = torch.ones((), dtype=torch.bool, device=device)
        for t in range(shape[-1]):
            first = t == 0
            logits = [lane.next_logits if first else lane.step(tokens[..., t - 1]) for lane in self.lanes]
            # at the first step one distribution serves all successors of a survivor, later each row has its own
            u = numbers[..., t] if first else numbers[..., t : t + 1]
            new = next_token(self.guider, self.sampling, logits, u, self.measures_kl, self.wanted, self.trace)
            tokens[..., t] = torch.where(alive, _by_row(new.tokens, first), 0)
            if ratios is not None:
                ratios[..., t] = _by_row(new.ratio, first)
            if new.kl is not None:
                kl[..., t] = new.kl[..., None] if first else new.kl
            if changed is not None:
                changed[..., t] = new.changed[..., None] if first else new.changed
            finite = finite & (new.finite[..., None] if first else new.finite).logical_or(~alive).all()
            counts = counts + alive
            ended = ended | (alive & torch.isin(tokens[..., t], self.eos))
            alive = alive & ~ended & (t + 1 < remaining)[:, None, None]
            if look and (t + 1) % QUANTUM == 0 and t + 1 < shape[-1] and not bool(alive.any()):
                cut = [None if x is None else x[..., : t + 1] for x in (tokens, ratios, kl, changed)]
                return Steps(cut[0], counts, ended, cut[1], cut[2], cut[3], finite)
        return Steps(tokens, counts, ended, ratios, kl, changed, finite)


class Graphs:
    """Captured runs of the steps, one for each number of steps and each set of shapes and addresses that they read.

    The first run under a key is eager: it allocates what it needs and warms up the libraries. The second is captured.

    Args:
        steps: ``(active, ended, remaining, numbers) -> Steps``; reads the lanes besides.
    """

    def __init__(self, steps, lanes: list[Lane]):
        self.steps, self.lanes = steps, lanes
        self.inputs: list[torch.Tensor] = []
        self.places: tuple = ()
        self.seen: dict = {}
        self.pool = None

    def run(self, *inputs: torch.Tensor) -> Steps:
        """The steps, by replay where they have been captured."""
        if [x.shape for x in self.inputs] != [x.shape for x in inputs]:
            self.inputs, self.seen = [x.clone() for x in inputs], {}
        for held, new in zip(self.inputs, inputs, strict=True):
            held.copy_(new)
        places, key = zip(*(lane.addresses() for lane in self.lanes), strict=True)
        if places != self.places:
            self.places, self.seen = places, {}  # a cache has moved: what was captured reads the old place
        if key not in self.seen:
            self.seen[key] = None
            return self.steps(*self.inputs)
        if self.seen[key] is None:
            self.seen[key] = self.capture()
        replay, taken = self.seen[key]
        replay()
        for lane in self.lanes:
            lane.offset = inputs[-1].shape[-1] - 1
        # the next replay overwrites these
        return Steps(**{f.name: x if (x := getattr(taken, f.name)) is None else x.clone() for f in fields(Steps)})

    def capture(self):
        """A function that repeats the steps on the held inputs, and the tensors that it fills."""
        if not torch.cuda.is_available():
            raise GuiderError("CUDA graphs need a CUDA device; leave graphs off")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            taken = self.steps(*self.inputs)
        self.pool = self.pool or graph.pool()
        return graph.replay, taken


def _by_row(drawn: torch.Tensor, first: bool) -> torch.Tensor:
    """``[P, S, K]`` from K draws of a survivor, or from one draw of every row."""
    return drawn if first else drawn[..., 0]
