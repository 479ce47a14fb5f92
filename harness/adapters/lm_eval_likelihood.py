"""lm-eval's requests for log-likelihoods, as pairs of a prompt and tokens."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.errors import UserError

if TYPE_CHECKING:
    from guiders import LM, Guider

# (context and continuation as texts; the prompt: ids, a text or messages; the continuation's ids in the base's tokens)
Pair = tuple[tuple[str, str] | None, Any, list[int]]


def check_continuations(requests: Sequence[Instance]) -> None:
    """Every request must continue its context: lm-eval's ``hf`` has an assertion for it.

    Raises:
        UserError: an empty continuation, with its task and document.
    """
    for request in requests:
        if not request.args[1]:
            place = f"task {request.task_name or '?'}, document {request.doc_id}"
            raise UserError(f"{place}: an empty continuation has no log-likelihood; mend the task's doc_to_choice")


def under_templates(base: "LM", requests: Sequence[Instance], prompt_of: Callable[[str], Any]) -> list[Pair]:
    """Contexts that each model reads in its own template, and continuations as they are tokenised after the base's.

    Args:
        prompt_of: a request's context as a prompt: a text, or the messages that it was rendered from.
    """
    pairs: list[Pair] = []
    for request in requests:
        context, continuation = request.args
        prompt = prompt_of(context)
        before = base.render(prompt)
        whole = base.encode_text(before + continuation, special=False)
        pairs.append(((context, continuation), prompt, whole[len(base.encode_text(before, special=False)) :]))
    return pairs


def log_likelihoods(guider: "Guider", pairs: Sequence[Pair]) -> tuple[list[tuple[float, bool]], int]:
    """Of every continuation its log-likelihood and whether greedy decoding writes it; and how many requests' contexts
    were too long and lost their beginning, as with lm-eval's ``hf``.

    Raises:
        UserError: a continuation without a token, or longer than the base's context.
    """
    from guiders import token_log_probs

    for texts, _, continuation in pairs:
        if not continuation:
            named = f"{texts[1]!r:.60} after {texts[0][-60:]!r}" if texts else "a text"
            raise UserError(f"loglikelihood: {named} has no token of its own to score; mend the task's doc_to_choice")
        if len(continuation) > guider.base.max_length:
            raise UserError(
                f"loglikelihood: a continuation of {len(continuation)} tokens does not fit the base's "
                f"{guider.base.max_length}; shorten it"
            )
    found = token_log_probs(guider, [(prompt, ids) for _, prompt, ids in pairs], on_long_prompt="truncate")
    truncated = sum(one.truncated > 0 and texts is not None for one, (texts, _, _) in zip(found, pairs, strict=True))
    return [(one.total, one.is_greedy) for one in found], truncated


def rolling_windows(tokens: list[int], prefix: int, longest: int) -> list[Pair]:
    """A whole text in pairs that predict each token once, from as much context as fits, the first from `prefix`."""
    found = get_rolling_token_windows(token_list=tokens, prefix_token=prefix, max_seq_len=longest, context_len=1)
    return [(None, *make_disjoint_window(window)) for window in found]
