"""Drawing the next token: temperature, cuts, and random numbers that belong to the row."""

import hashlib
import math
from dataclasses import dataclass

import torch

from guiders.errors import GuiderError

_MASK = 0xFFFFFFFF
WIDTH = 256  # ids in a block of the distribution function


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from the guided distribution.

    Args:
        temperature: divides the guided logits; 0 takes the most likely token.
        top_k: keep the k most likely tokens (0: all). top_p: keep the smallest set with at least this mass (1: all).
        max_new_tokens: tokens of a response at most (fewer where the model's context ends first).
        seed: of the random numbers.
        stop: strings that end a response; the response is cut before them.
        purpose: a name for a stream of its own: with another purpose, the same seed gives independent draws.
        min_p: keep the tokens of at least this share of the likeliest one's probability (0: all; Nguyen et al. 2024,
            arXiv 2407.01082). typical_p: keep the smallest set of at least this mass among the tokens whose surprisal
            is nearest to the entropy (1: all; Meister et al. 2023, arXiv 2202.00666).
        coupling: how a number becomes a token, with the same distribution. "inverse": by the inverse of the
            distribution function. "gumbel": ``argmax(log p + G)``, where the Gumbel numbers G belong to the row, so
            that distributions that are alike give texts that are alike (Maddison et al. 2014, arXiv 1411.0030).

    Raises:
        GuiderError: a value out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_new_tokens: int = 128
    seed: int = 0
    stop: tuple[str, ...] = ()
    purpose: str = ""
    min_p: float = 0.0
    typical_p: float = 1.0
    coupling: str = "inverse"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "stop", tuple(s for s in ([self.stop] if isinstance(self.stop, str) else self.stop) if s)
        )
        checks = {
            "temperature": (math.isfinite(self.temperature) and self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "min_p": (0 <= self.min_p <= 1, "0 to 1"),
            "typical_p": (0 < self.typical_p <= 1, "above 0 and at most 1"),
            "coupling": (self.coupling in ("inverse", "gumbel"), "inverse or gumbel"),
        }
        for name, (fine, must) in checks.items():
            if not fine:
                raise GuiderError(f"{name}={getattr(self, name)} is out of range; it must be {must}")

    @property
    def cuts(self) -> bool:
        """Are unlikely tokens left out?"""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.typical_p < 1

    @property
    def stream(self) -> int:
        """The 64-bit key of the random numbers: the seed, and with a purpose 64 bits of its hash upon it."""
        seed = self.seed & ((1 << 64) - 1)
        return seed ^ _bits(self.purpose) if self.purpose else seed


def _bits(text: str) -> int:
    """The first 64 bits of a text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def stream_key(tokens: list[int]) -> int:
    """64 bits that identify a prompt by its tokens, so that its random numbers don't depend on its place in a batch."""
    return _bits(",".join(map(str, tokens)))


def signed_key(ids: list[int]) -> int:
    """A prompt's 64 bits as a tensor of integers holds them."""
    key = stream_key(ids)
    return key - (1 << 64) if key >= 1 << 63 else key


def philox(counter: list[torch.Tensor], key: tuple[int, int]) -> list[torch.Tensor]:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), on int64 tensors that hold
    32-bit words.

    Args:
        counter: four broadcastable tensors of 32-bit words. key: two 32-bit words.

    Returns:
        four tensors of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # a 32x32-bit product wraps around in int64, but its bits are right: mask after the shift
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((b >> 32) & _MASK) ^ c1 ^ k0, b & _MASK, ((a >> 32) & _MASK) ^ c3 ^ k1, a & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return [c0, c1, c2, c3]


def uniforms(seed: int, prompts: torch.Tensor, hypotheses: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Numbers in (0, 1), one for each (seed, prompt, hypothesis, step): a counter-based stream.

    Args:
        prompts: int64 prompt keys; hypotheses, steps: int64; all broadcast together.

    Returns:
        float64 of the broadcast shape, never exactly 0 or 1.
    """
    seed &= (1 << 64) - 1
    counter = [steps & _MASK, hypotheses & _MASK, prompts & _MASK, (prompts >> 32) & _MASK]
    a, b, _, _ = philox(counter, (seed & _MASK, seed >> 32))
    return _uniform(a, b)


def _uniform(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A number in (0, 1) from two 32-bit words, float64."""
    return ((a >> 6).to(torch.float64) * (1 << 26) + (b >> 6).to(torch.float64) + 0.5) / (1 << 52)


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities ``[..., V]`` that a token is drawn with, from guided logits ``[..., V]``.

    Top-k, top-p, min-p and typical, each on what the one before has left (the order of transformers' logits
    warpers). Temperature 0 puts all mass on the most likely token (the lowest id of equals).
    """
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    # less the largest first: a logit of 10 divided by a temperature of 1e-6 keeps no digits that matter in float32
    logits = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter_(-1, index, ordered.masked_fill(beyond, 0.0))
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    if sampling.min_p > 0:
        least = sampling.min_p * probabilities.amax(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return _typical(probabilities, sampling.typical_p) if sampling.typical_p < 1 else probabilities


def _typical(probabilities: torch.Tensor, mass: float) -> torch.Tensor:
    """The tokens whose surprisal is nearest to the entropy, until they have this mass; of equals all are kept."""
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True)
    distance, index = (-probabilities.log() - entropy).abs().sort(dim=-1, stable=True)
    last = (probabilities.gather(-1, index).cumsum(-1) < mass).sum(-1, keepdim=True)
    beyond = distance > distance.gather(-1, last.clamp_max(distance.shape[-1] - 1))
    kept = probabilities.masked_fill(torch.zeros_like(beyond).scatter_(-1, index, beyond), 0.0)
    return kept / kept.sum(-1, keepdim=True)


def draw(probabilities: torch.Tensor, numbers: torch.Tensor, coupling: str = "inverse") -> torch.Tensor:
    """Tokens from distributions ``[..., V]`` and numbers ``[..., m]``: ids ``[..., m]``.

    One number a token, and one distribution for all m draws from it. A token of probability 0 is never drawn. The
    probabilities need not sum to 1: numbers are taken as shares of their sum.

    Args:
        coupling: see `Sampling`.
    """
    if coupling == "gumbel":
        return race(probabilities, numbers)
    weights = torch.nn.functional.pad(probabilities, (0, -probabilities.shape[-1] % WIDTH))
    return invert(weights, cumulated_blocks(weights), numbers)


def race(probabilities: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Tokens by ``argmax(log p + G)``: ``[..., V]`` and numbers ``[..., m]`` -> ids ``[..., m]``.

    The V Gumbel numbers G of a draw come from its own number, one for each id: equal numbers give equal G, whatever the
    probabilities are. In place of ``log p + G`` with
    ``G = −log(−log u)`` the same order is that of ``p / −log u``.
    """
    exponentials = -more_numbers(numbers, probabilities.shape[-1]).log().to(probabilities.device)
    return (probabilities[..., None, :].double() / exponentials).argmax(-1)


def drafted(
    probabilities: torch.Tensor, draft: torch.Tensor, numbers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens with the law of `probabilities`, drafted from another distribution.

    A token of the draft q is kept with probability min(1, p/q), else drawn anew from the residual (p − q)₊ (Leviathan
    et al. 2023, arXiv 2211.17192, theorem 1).

    Args:
        probabilities, draft: ``[..., V]``, each of sum 1. numbers: ``[..., m]``.

    Returns:
        ids ``[..., m]``, and the probability that a draft is kept, ``Σ min(p, q)`` (theorem 3.5): ``[...]``, float64.
    """
    first, second, third = more_numbers(numbers, 3).to(probabilities.device).unbind(-1)
    tokens = draw(draft, first)
    kept = second * draft.gather(-1, tokens) < probabilities.gather(-1, tokens)
    acceptance = torch.minimum(probabilities, draft).sum(-1, dtype=torch.float64)
    return torch.where(kept, tokens, draw((probabilities - draft).clamp_min(0), third)), acceptance


def more_numbers(numbers: torch.Tensor, count: int) -> torch.Tensor:
    """So many further numbers in (0, 1) from each one, ``[...]`` -> ``[..., count]``: Philox keyed by all its bits."""
    bits = (numbers * (1 << 52)).long()[..., None]
    pairs = torch.arange((count + 1) // 2, device=numbers.device)
    a, b, c, d = philox([pairs, bits & _MASK, bits >> 32, torch.zeros_like(pairs)], (0x47554D42, 0x454C0000))
    return torch.stack([_uniform(a, b), _uniform(c, d)], -1).flatten(-2)[..., :count]


def cumulated_blocks(weights: torch.Tensor) -> torch.Tensor:
    """The distribution function at the end of every block: ``[..., n·WIDTH]`` -> ``[..., n]`` in float64."""
    return weights.unflatten(-1, (-1, WIDTH)).sum(-1).double().cumsum(-1)


def invert(weights: torch.Tensor, cumulated: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Ids ``[..., m]`` at which the distribution function passes the numbers ``[..., m]``.

    First the block that a number falls into, then the id within it, summed in float64.

    Args:
        weights: ``[..., n·WIDTH]`` unnormalised probabilities. cumulated: of these, by `cumulated_blocks`.
    """
    blocks = weights.unflatten(-1, (-1, WIDTH))
    wanted = _below(numbers.to(cumulated.device) * cumulated[..., -1:], cumulated[..., -1:])
    # a function of NaNs is passed nowhere: any place in the table will do
    where = torch.searchsorted(cumulated, wanted, right=True).clamp_max(cumulated.shape[-1] - 1)
    before = torch.where(where > 0, cumulated.gather(-1, (where - 1).clamp_min(0)), 0.0)
    chosen = blocks.gather(-2, where[..., None].expand(*where.shape, WIDTH)).cumsum(-1, dtype=torch.float64)
    inside = torch.searchsorted(chosen, _below(wanted - before, chosen[..., -1])[..., None], right=True)[..., 0]
    return where * WIDTH + inside.clamp_max(WIDTH - 1)


def _below(wanted: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Rounding can push a number up to the total, past the last token that has mass."""
    return torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total))).contiguous()


def reference(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities of the base that divergence is measured from: ``[..., V]`` from its logits.

    At the sampling temperature, without cuts; at temperature 0, where the drawn distribution is a point, at 1.
    """
    # less the largest first, as in `distribution`
    return ((logits - logits.amax(-1, keepdim=True)) / (sampling.temperature or 1.0)).log_softmax(-1)


def divergence(probabilities: torch.Tensor, log_base: torch.Tensor) -> torch.Tensor:
    """Exact KL(drawn from ‖ base) in nats, ``[...]``, never below 0.

    Args:
        probabilities: ``[..., V]`` what is drawn from. log_base: ``[..., V]`` the base's, by `reference`. An id that
            is not drawn adds nothing, even one that the base masks.
    """
    crossed = torch.where(probabilities > 0, probabilities * log_base, 0.0).sum(-1)
    return (-torch.special.entr(probabilities).sum(-1) - crossed).clamp_min(0)
