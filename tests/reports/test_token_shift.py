"""Token shifts: by hand, and on the page."""

import pytest

from reports.token_shift import token_shift


def test_shares_by_hand():
    """Ranks 0 0 1 2 3 and 0 9 0: four first, two second or third, two later, of eight."""
    found = token_shift([{"base_ranks": [0, 0, 1, 2, 3]}, None, {"base_ranks": [0, 9, 0]}, {"tokens": []}])
    assert (found.first, found.second_or_third, found.later, found.tokens) == pytest.approx((0.5, 0.25, 0.25, 8))


def test_without_traces_there_is_nothing_to_say():
    assert token_shift([None, float("nan"), {"base_ranks": []}]) is None
