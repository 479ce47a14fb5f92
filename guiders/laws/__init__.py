"""What every guider must obey, the slow oracle that it must equal, and a language small enough to enumerate.

from guiders import laws
laws.check(my_guider, ["a prompt", "another one"], Sampling(max_new_tokens=20))
"""

from guiders.laws.laws import (
    arrival_does_not_matter,
    batch_mates_do_not_matter,
    cached_logits_equal_formula,
    cached_value_equals_rescore,
    check,
    decode,
    ended_takes_one_slot,
    follows,
    greedy_equals_transformers,
    off_equals_base,
    stepped_log_probs,
    threads_do_not_matter,
    unlimited_chunk_equals_best_of,
    whole_value,
)
from guiders.laws.peek import peeks_leave_no_trace
from guiders.laws.replay import replayed

__all__ = [
    "arrival_does_not_matter",
    "batch_mates_do_not_matter",
    "cached_logits_equal_formula",
    "cached_value_equals_rescore",
    "check",
    "decode",
    "ended_takes_one_slot",
    "follows",
    "greedy_equals_transformers",
    "off_equals_base",
    "peeks_leave_no_trace",
    "replayed",
    "stepped_log_probs",
    "threads_do_not_matter",
    "unlimited_chunk_equals_best_of",
    "whole_value",
]
