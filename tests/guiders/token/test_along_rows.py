"""What a guide notes at every token follows the beam: against lists of numbers, one for every hypothesis."""

import math
import random
from types import SimpleNamespace

import pytest
import torch

from guiders import ChunkBeam
from guiders.token.along_rows import AlongRows

SLOTS, W, K = 3, 2, 3


@pytest.mark.parametrize("seed", range(5))
def test_numbers_follow_ragged_rows_and_their_parents(seed):
    rng = random.Random(seed)
    along = AlongRows(SLOTS, ChunkBeam(W, K, 4), torch.device("cpu"))
    kept = [[[] for _ in range(W)] for _ in range(SLOTS)]  # the numbers of every survivor
    for _ in range(6):
        if rng.random() < 0.4:
            slot = rng.randrange(len(kept))
            along.admit([slot])
            kept[slot] = [[] for _ in range(W)]
        slots = len(kept)
        new = [[[] for _ in range(W * K)] for _ in range(slots)]
        columns = rng.randint(1, 4)
        for t in range(columns):
            each = K if t else 1  # a chunk's first numbers are shared by a survivor's successors
            view = SimpleNamespace(running=torch.ones(slots, W, each))
            before = [[[kept[p][s] + new[p][s * K + k] for k in range(each)] for s in range(W)] for p in range(slots)]
            for n in (1, 3):
                expected = [[[([math.nan] * n + x)[-n:] for x in row] for row in slot] for slot in before]
                found = along.last(n, view)
                assert torch.equal(found.nan_to_num(-1.0), torch.tensor(expected).double().nan_to_num(-1.0))
            x = torch.tensor([[[rng.randint(0, 99) for _ in range(each)] for _ in range(W)] for _ in range(slots)])
            along.note(x)
            for p in range(slots):
                for row in range(W * K):
                    new[p][row].append(int(x[p, row // K, row % K if t else 0]))
        counts = torch.tensor([[[rng.randint(0, columns) for _ in range(K)] for _ in range(W)] for _ in range(slots)])
        shared = [sum(new[p][s * K][0] for s in range(W)) for p in range(slots)]
        rest = [sum(sum(new[p][r][1 : int(counts[p, r // K, r % K])]) for r in range(W * K)) for p in range(slots)]
        assert along.of_chunk(counts).tolist() == [a + b for a, b in zip(shared, rest, strict=True)]
        rows = torch.tensor([[rng.randrange(W * K) for _ in range(W)] for _ in range(slots)])
        taken = counts.flatten(1).gather(1, rows)
        along.commit(rows // K, rows, taken)
        kept = [
            [kept[p][r // K] + new[p][r][:n] for r, n in zip(rows[p].tolist(), taken[p].tolist(), strict=True)]
            for p in range(slots)
        ]
        for p in range(slots):
            for s in range(W):
                assert along.mean(p, s) == pytest.approx(sum(kept[p][s]) / max(1, len(kept[p][s])))
        if rng.random() < 0.3 and slots > 1:
            held = rng.sample(range(slots), slots - 1)
            along.keep(torch.tensor(held))
            kept = [kept[p] for p in held]
