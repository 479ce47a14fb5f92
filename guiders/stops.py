"""Stop strings end a row at the token in which the string is complete."""

import torch

from guiders.beam import Beam
from guiders.lm import LM


def cut_at_stop(lm: LM, stops: tuple[str, ...], beam: Beam, tokens, counts, ended):
    """End the rows whose text holds a stop string.

    Looked at on the host, once per chunk: a string can begin in one token and end in another.

    Args:
        tokens: ``[P, S, K, n]``, counts, ended: ``[P, S, K]`` of the chunk.

    Returns:
        tokens, counts and ended, with such rows cut after the token that completes the first stop string.
    """
    new_counts, new_ended = counts.tolist(), ended.tolist()
    lengths = beam.lengths.tolist()
    successors = tokens.shape[2]
    special = set(lm.tokenizer.all_special_ids)
    # a character takes at most four tokens, and what came before the chunk holds no whole stop string
    reach = 4 * max(map(len, stops)) + 4
    for p, rows in enumerate(beam.responses(tokens, counts)):
        for row, response in enumerate(rows):
            s, k = divmod(row, successors)
            if not new_counts[p][s][k]:
                continue
            before = lengths[p][s]
            start, left = before, reach
            while start and left:
                start -= 1
                left -= response[start] not in special
            if not any(stop in lm.decode(response[start:]) for stop in stops):
                continue
            end = next(
                i for i in range(before + 1, len(response) + 1) if any(x in lm.decode(response[start:i]) for x in stops)
            )
            new_counts[p][s][k], new_ended[p][s][k] = end - before, True
    device = tokens.device
    return tokens, torch.tensor(new_counts, device=device), torch.tensor(new_ended, device=device)
