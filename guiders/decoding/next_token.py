"""One step over the vocabulary: from the models' logits to every row's next token.

On a CPU this goes over a few rows at a time, so that what lies between the logits and the token stays in the cache:
whole tensors of 256 rows and 50,000 ids would pass through memory some twenty times, which takes half as long as the
models do. On other devices all rows go at once, which launches the fewest kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from guiders.guider import Guider
from guiders.kv.log_probs import log_probs, row_blocks
from guiders.sampling import (
    WIDTH,
    Sampling,
    cumulated_blocks,
    distribution,
    divergence,
    drafted,
    draw,
    invert,
    reference,
)


@dataclass
class NextToken:
    """What was drawn, for R rows with m numbers each.

    Attributes:
        tokens: ``[R, m]``. finite: ``[R]`` was there a number to draw by?
        kl: ``[R]`` nats, KL(drawn from ‖ base), see `guiders.sampling.divergence`; None where not asked for.
        over_base: ``[R, m]`` nats, log-probability of the tokens as drawn, less the base's; None where not asked for.
        ratio: ``[R, m]`` log π⁺ − log π⁻ of the tokens, float64; None where not asked for.
        changed: ``[R]`` did guidance change the most likely token? None where not asked for.
        rank: ``[R, m]`` how many ids the base finds more likely than the token; asked for with `changed`.
        log_probs: ``[R, m]`` of the tokens under guidance, float64, of `most_likely`; else None.
        acceptance: ``[R]`` the probability that a draft is kept, float64; None where nothing is drafted.
    """

    tokens: torch.Tensor
    finite: torch.Tensor
    kl: torch.Tensor | None = None
    over_base: torch.Tensor | None = None
    ratio: torch.Tensor | None = None
    changed: torch.Tensor | None = None
    rank: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None
    acceptance: torch.Tensor | None = None


def next_token(
    guider: Guider,
    sampling: Sampling,
    logits: Sequence[torch.Tensor],
    numbers: torch.Tensor,
    kl: bool = False,
    pair: tuple[int, int] | None = None,
    changed: bool = False,
    guided: torch.Tensor | None = None,
) -> NextToken:
    """Draw every row's next tokens.

    Args:
        logits: ``[..., V]`` of `Guider.models`.
        numbers: ``[..., m]`` uniform numbers: m draws from each row's distribution.
        kl: measure the divergence from the base, `NextToken.kl` and `NextToken.over_base`; something must guide or
            cut, else there is none.
        pair: the places among `logits` of a tuned and an untuned model whose ratio is wanted.
        changed: compare the most likely token with the base's.
        guided: ``[..., V]`` the guided logits, where a guide with a memory has made them; overwritten.

    Returns:
        tensors of the leading shape of `numbers`.
    """
    flat, uniform = [x.flatten(0, -2) for x in logits], numbers.flatten(0, -2)
    parts = [
        _rows(
            guider,
            sampling,
            [x[some] for x in flat],
            uniform[some],
            kl,
            pair,
            changed,
            None if guided is None else guided.flatten(0, -2)[some],
        )
        for some in row_blocks(len(uniform), flat[0].shape[-1], uniform.device)
    ]
    if len(parts) > 1:
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(NextToken)}
        parts = [NextToken(**{name: torch.cat(some) for name, some in columns.items() if some[0] is not None})]
    shape = numbers.shape[:-1]
    return NextToken(**{name: x.unflatten(0, shape) for name, x in vars(parts[0]).items() if x is not None})


def most_likely(
    guider: Guider,
    logits: Sequence[torch.Tensor],
    m: int,
    guided: torch.Tensor | None = None,
    pair: tuple[int, int] | None = None,
) -> NextToken:
    """Every row's m most likely next tokens at temperature 1, the likeliest first; nothing is drawn. The last of the m
    are those of `Search.also`.

    Where the vocabulary has fewer, the first one comes again, with a log-probability of minus infinity.

    Args:
        logits, guided, pair: as of `next_token`.

    Returns:
        tensors of the logits' leading shape.
    """
    guided = guider.combine(logits) if guided is None else guided
    given = guided.log_softmax(-1)
    base = logits[0][..., : guided.shape[-1]].to(guided.dtype).log_softmax(-1)
    also = torch.tensor(guider.search.also, dtype=torch.long, device=given.device)
    found = given.topk(min(m - len(also), given.shape[-1]))
    more = m - len(also) - found.indices.shape[-1]
    tokens = torch.cat([found.indices, found.indices[..., :1].expand(*found.indices.shape[:-1], more)], -1)
    log_probs = torch.nn.functional.pad(found.values.double(), (0, more), value=-torch.inf)
    if len(also):
        twice = (tokens[..., None] == also).any(-2)
        log_probs = torch.cat([log_probs, given[..., also].double().masked_fill(twice, -torch.inf)], -1)
        tokens = torch.cat([tokens, also.expand(*tokens.shape[:-1], -1)], -1)
    return NextToken(
        tokens=tokens,
        finite=torch.isfinite(found.values[..., 0]),
        kl=divergence(given.exp(), base),
        over_base=(given.gather(-1, tokens) - base.gather(-1, tokens)).double(),
        ratio=None if pair is None else _log_ratio(logits[pair[0]], logits[pair[1]], tokens),
        changed=given.argmax(-1) != base.argmax(-1),
        rank=_ranks(base, tokens),
        log_probs=log_probs,
    )


def _rows(
    guider: Guider,
    sampling: Sampling,
    logits: Sequence[torch.Tensor],
    numbers: torch.Tensor,
    kl: bool,
    pair: tuple[int, int] | None,
    changed: bool,
    guided: torch.Tensor | None,
) -> NextToken:
    guided = guider.combine(logits) if guided is None else guided
    base = logits[0][..., : guided.shape[-1]]
    differs = guided.argmax(-1) != base.argmax(-1) if changed else None
    acceptance = None
    if sampling.temperature and not sampling.cuts and sampling.coupling == "inverse" and guider.draft is None:
        tokens, finite, kl_base, over_base = _uncut(guided, base, numbers, sampling.temperature, kl)
    else:
        probabilities = distribution(guided, sampling)
        # at temperature 0 all mass is on one token, whatever the logits are
        finite = torch.isfinite(probabilities.sum(-1) if sampling.temperature else guided.amax(-1))
        if guider.draft is None:
            drawn = draw(probabilities, numbers, sampling.coupling)
        else:
            draft = logits[guider.draft][..., : probabilities.shape[-1]].to(probabilities)
            drawn, acceptance = drafted(probabilities, distribution(draft, sampling), numbers)
        tokens = _readable(drawn, finite)
        kl_base = over_base = None
        if kl:
            log_base = reference(base.to(guided.dtype), sampling)
            kl_base = divergence(probabilities, log_base)
            over_base = probabilities.gather(-1, tokens).double().log() - log_base.gather(-1, tokens)
    return NextToken(
        tokens=tokens,
        finite=finite,
        kl=kl_base,
        over_base=over_base,
        ratio=None if pair is None else _log_ratio(logits[pair[0]], logits[pair[1]], tokens),
        changed=differs,
        rank=_ranks(base, tokens) if changed else None,
        acceptance=acceptance,
    )


def _ranks(base: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """How many ids have more of the base's logits ``[..., V]`` than each of the tokens ``[..., m]``."""
    own = base.gather(-1, tokens)
    return torch.stack([(base > own[..., j, None]).sum(-1) for j in range(tokens.shape[-1])], -1)


def _readable(tokens: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
    """Where a row had no number to draw by, a token that the models can read, until the row is looked at."""
    return tokens.where(finite[:, None], 0)


def _uncut(
    guided: torch.Tensor, base: torch.Tensor, numbers: torch.Tensor, temperature: float, kl: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """`draw` and `divergence` in the fewest passes over the vocabulary: weights are never divided by their sum.

    With `kl`, `guided` is overwritten. Logits are taken less their row's largest, those of the base as well, before
    they are divided by the temperature: at a low one, differences of large numbers would leave nothing but rounding.
    """
    vocabulary = guided.shape[-1]
    weights = guided.new_empty(len(guided), vocabulary + -vocabulary % WIDTH)  # zeros up to a whole number of blocks
    weights[:, vocabulary:] = 0.0
    inside = weights[:, :vocabulary]
    guided = torch.sub(guided, guided.amax(-1, keepdim=True), out=guided if kl else inside)
    _exponentials(guided, temperature, inside)
    cumulated = cumulated_blocks(weights)
    total = cumulated[:, -1]
    finite = torch.isfinite(total)
    tokens = _readable(invert(weights, cumulated, numbers), finite)
    if not kl:
        return tokens, finite, None, None
    # in the memory of the weights and of the guided logits: more would not stay in the cache. A masked id is minus
    # infinity with weight 0, which comes to NaN, and adds nothing.
    chosen = guided.gather(-1, tokens).double()
    own = guided.mul_(inside).nansum(-1)
    plain = torch.sub(base, base.amax(-1, keepdim=True).to(guided.dtype), out=guided)
    chosen = chosen - plain.gather(-1, tokens)
    shift = (own - inside.mul_(plain).nansum(-1)) / total
    normaliser = _exponentials(plain, temperature, inside).sum(-1).double().log() - total.log()
    return tokens, finite, (shift / temperature + normaliser).clamp_min(0), chosen / temperature + normaliser[:, None]


def _exponentials(logits: torch.Tensor, temperature: float, out: torch.Tensor) -> torch.Tensor:
    """``exp(logits / T)``, written to `out`, which may be `logits`."""
    return torch.exp(logits if temperature == 1 else torch.div(logits, temperature, out=out), out=out)


def _log_ratio(tuned: torch.Tensor, untuned: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """log π⁺ − log π⁻ of the drawn tokens: ``[R, m]``."""
    ratio = log_probs(tuned, tokens.to(tuned.device)).double()
    return ratio - log_probs(untuned, tokens.to(untuned.device)).double().to(ratio.device)
