"""How long AlpacaEval's prompts and answers are.

Quantiles, in characters, of the 805 instructions and of the answers of its reference model (gpt4_1106_preview), counted
in the outputs that AlpacaEval publishes (Li et al. 2023). A token is taken as 4.5 characters of English, and a chat
template as 12 tokens: the tokenizer of a model was not at hand where the table was made.
"""

import torch

AT = (0, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 1)
PROMPT_CHARACTERS = (12, 26, 31, 38, 53, 66, 81, 100, 122, 157, 221, 320, 518, 759, 1183, 1917)
ANSWER_CHARACTERS = (3, 112, 208, 384, 781, 1280, 1766, 2132, 2452, 2736, 3094, 3474, 3798, 4219, 5154, 6639)
PROMPTS, NEW_TOKENS = 805, 512
CHARACTERS, TEMPLATE = 4.5, 12


def prompt_lengths(count: int) -> list[int]:
    """Tokens of `count` prompts that stand for all 805, shortest first."""
    return [TEMPLATE + round(n / CHARACTERS) for n in quantiles(PROMPT_CHARACTERS, count)]


def answer_lengths(count: int) -> list[int]:
    """Tokens of `count` answers of at most 512, shortest first."""
    return [min(NEW_TOKENS, max(1, round(n / CHARACTERS))) for n in quantiles(ANSWER_CHARACTERS, count)]


def quantiles(table: tuple[int, ...], count: int) -> list[float]:
    """The table at the middles of `count` equal parts, by straight lines between its entries."""
    found = []
    for i in range(count):
        at = (i + 0.5) / count
        right = next(k for k in range(1, len(AT)) if at <= AT[k])
        share = (at - AT[right - 1]) / (AT[right] - AT[right - 1])
        found.append(table[right - 1] + share * (table[right] - table[right - 1]))
    return found


def slice_of_alpaca_eval(count: int, vocabulary: int, shrink: int = 1) -> list[tuple[list[int], int]]:
    """Prompts of random tokens and how long each one's answer is, in an order that is not that of their lengths.

    shrink: all lengths are divided by it.
    """
    draws = torch.Generator().manual_seed(0)
    prompts = [max(1, n // shrink) for n in prompt_lengths(count)]
    answers = [max(1, n // shrink) for n in answer_lengths(count)]
    orders = (torch.randperm(count, generator=draws).tolist() for _ in range(2))
    pairs = zip(*orders, strict=True)
    return [(torch.randint(vocabulary, (prompts[p],), generator=draws).tolist(), answers[a]) for p, a in pairs]
