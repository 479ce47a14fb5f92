"""Seeds under lm-eval: the one that its command line gives, and those of a task's repeats."""

import hashlib


def torch_seed() -> int:
    """The seed that lm-eval has given torch (the third of ``--seed``), which is what its own models draw from."""
    import torch

    return torch.initial_seed()


def repeat_seed(seed: int, repeat: int) -> int:
    """The seed of the n-th request for one prompt: the seed itself for the first, 64 bits of a hash for further ones.

    A sum would make the second of seed 0 the first of seed 1, and runs of several seeds were no longer independent.
    """
    if repeat == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {repeat}".encode()).digest()[:8], "little")
