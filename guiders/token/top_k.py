"""The base's k likeliest ids: what a guide that pays for every alternative chooses among."""

import torch

from guiders.errors import GuiderError


def check_k(k: int | None) -> None:
    """Raises GuiderError where k is neither None (all ids) nor 1 or more."""
    if k is not None and k < 1:
        raise GuiderError(f"k={k} is out of range; it must be 1 or more")


def check_within(k: int | None, vocabulary: int) -> None:
    """Raises GuiderError where there are fewer than k ids; asked once the models are read."""
    if k is not None and k > vocabulary:
        raise GuiderError(f"k={k} is above the vocabulary of {vocabulary} ids; set k to {vocabulary} or less")


def likeliest(logits: torch.Tensor, k: int | None) -> torch.Tensor:
    """Ids ``[..., k]`` of the k highest logits ``[..., V]``, the highest first; all where k is None."""
    return logits.topk(logits.shape[-1] if k is None else k).indices


def only(ids: torch.Tensor, logits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Logits of the shape of `like` ``[..., V]`` that are minus infinity but at these ids ``[..., k]``."""
    return torch.full_like(like, -torch.inf).scatter(-1, ids, logits.to(like))
