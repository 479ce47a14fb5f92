"""Texts of tokens put into clusters: k-means of their TF-IDF vectors."""

import torch

ROUNDS = 20  # of k-means; a few texts settle in fewer


def clusters(texts: list[list[list[int]]], valid: torch.Tensor, k: int) -> torch.Tensor:
    """Which cluster each of a prompt's texts belongs to: ``[P, R]``, 0 to k − 1, and k for all empty ones; any of those
    that are not valid.

    k-means on the unit sphere, with a start of its own for every prompt that draws nothing: the first valid text, then
    again and again the one that is least like the centres so far. Of equals, the first.

    Args:
        texts: ``[P][R]`` lists of ids. valid: ``[P, R]`` texts that are looked at.
    """
    empty = torch.tensor([[not text for text in some] for some in texts], device=valid.device)
    valid = valid & ~empty
    x = tf_idf(texts, valid)
    centres = _take(x, valid.long().argmax(1))[:, None]
    while centres.shape[1] < k:
        nearest = _likeness(x, centres).amax(-1).masked_fill(~valid, torch.inf)
        centres = torch.cat([centres, _take(x, nearest.argmin(1))[:, None]], 1)
    labels = _likeness(x, centres).argmax(-1)
    for _ in range(ROUNDS):
        members = torch.nn.functional.one_hot(labels, k).to(x) * valid[..., None]
        sums = members.transpose(1, 2) @ x
        centres = torch.where(members.sum(1)[..., None] > 0, torch.nn.functional.normalize(sums, dim=-1), centres)
        moved = _likeness(x, centres).argmax(-1)
        if bool((moved == labels).all()):
            break
        labels = moved
    return labels.masked_fill(empty, k)


def tf_idf(texts: list[list[list[int]]], valid: torch.Tensor) -> torch.Tensor:
    """Counts of ids, each times ``1 + log((1 + n) / (1 + texts with it))`` of the prompt's n valid texts, to length 1
    (scikit-learn's `TfidfVectorizer`, ids for words): ``[P, R, U]`` in float64, of the U ids that there are; zeros for
    an empty text."""
    ids = sorted({token for some in texts for text in some for token in text})
    place = {token: i for i, token in enumerate(ids)}
    counts = torch.zeros(*valid.shape, max(1, len(ids)), dtype=torch.float64)
    where = [(p, r, place[token]) for p, some in enumerate(texts) for r, text in enumerate(some) for token in text]
    if where:
        counts.index_put_(tuple(torch.tensor(where).T), torch.ones((), dtype=torch.float64), accumulate=True)
    counts = counts.to(valid.device) * valid[..., None]
    n, of_texts = valid.sum(1)[:, None, None], (counts > 0).sum(1, keepdim=True)
    return torch.nn.functional.normalize(counts * (1 + ((1 + n) / (1 + of_texts)).log()), dim=-1)


def _likeness(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Cosines ``[P, R, k]``; rounded, so that what is equal stays equal whatever the batch."""
    return (x @ centres.transpose(1, 2)).round(decimals=9)


def _take(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Of every prompt one row: ``[P, R, U]``, ``[P]`` -> ``[P, U]``."""
    return x[torch.arange(len(x), device=x.device), rows]
