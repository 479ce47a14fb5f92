"""Stop strings end a row at the token in which the string is complete."""

import torch

from guiders.decoding.beam import Beam
from guiders.models.lm import LM


def stop_ids(lm: LM, stops: tuple[str, ...]) -> tuple[int, ...]:
    """Ids of the stop strings that are one special token, as ``<|im_end|>``: they end a row as an end-of-text token
    does, without a look at its text."""
    special = {lm.tokenizer.convert_ids_to_tokens(i): i for i in lm.special_ids}
    return tuple(special[stop] for stop in stops if stop in special)


def before_stop(text: str, stops: tuple[str, ...]) -> str:
    """The text before its stop strings, cut by one after the other in their order, as lm-eval does
    (`lm_eval.models.utils.postprocess_generated_text`)."""
    for stop in stops:
        text = text.split(stop)[0]
    return text


def whole_characters(lm: LM, tokens: list[int], stops: tuple[str, ...]) -> str:
    """A running response as its reader sees it: cut before a stop string, and without a last character whose bytes are
    not all there yet."""
    return before_stop(lm.decode(tokens), stops).rstrip("\ufffd")


def cut_at_stop(
    lm: LM, stops: tuple[str, ...], beam: Beam, tokens: torch.Tensor, counts: torch.Tensor, ended: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """End the rows whose text holds a stop string, with or without its special tokens.

    Looked at on the host, once per chunk: a string can begin in one token and end in another.

    Args:
        tokens: ``[P, S, K, n]``, counts, ended: ``[P, S, K]`` of the chunk.

    Returns:
        tokens, counts and ended, with such rows cut after the token that completes the first stop string.
    """
    new_counts, new_ended = counts.tolist(), ended.tolist()
    lengths = beam.lengths.tolist()
    successors = tokens.shape[2]
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
                left -= response[start] not in lm.special_ids
            if not _stopped(lm, stops, response[start:]):
                continue
            end = next(i for i in range(before + 1, len(response) + 1) if _stopped(lm, stops, response[start:i]))
            new_counts[p][s][k], new_ended[p][s][k] = end - before, True
    device = tokens.device
    return tokens, torch.tensor(new_counts, device=device), torch.tensor(new_ended, device=device)


def _stopped(lm: LM, stops: tuple[str, ...], tokens: list[int]) -> bool:
    texts = [lm.decode(tokens)]
    if not lm.special_ids.isdisjoint(tokens):
        texts.append(lm.decode(tokens, special=True))
    return any(stop in text for text in texts for stop in stops)
