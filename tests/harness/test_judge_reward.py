"""The reward judge: Bradley-Terry's laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judges.reward import RewardJudge, bradley_terry
from harness.records.judgement import Judgement

REWARDS = st.floats(-1e4, 1e4)


@given(REWARDS, REWARDS)
def test_the_two_sides_of_a_pair_add_up(first, second):
    assert bradley_terry(first, second) + bradley_terry(second, first) == pytest.approx(3)


@given(REWARDS)
def test_equal_rewards_are_a_tie(reward):
    assert bradley_terry(reward, reward) == 1.5


def test_odds_are_the_exponential_of_the_difference():
    for difference in (-3.0, -0.5, 0.1, 2.0):
        probability = bradley_terry(1.0, 1.0 + difference) - 1
        assert probability / (1 - probability) == pytest.approx(math.exp(difference))


def test_extreme_rewards_stay_in_range():
    assert bradley_terry(-1e308, 1e300) == 2
    assert bradley_terry(1e308, -1e300) == 1


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_is_refused(reward):
    with pytest.raises(ValueError, match="finite"):
        bradley_terry(reward, 0.0)


def test_the_judgement_holds_lengths_in_characters_and_names_judge_and_baseline():
    judgement = RewardJudge("gold").compare("k", ("né", "longer"), (0.0, math.log(3)), "base-1")
    assert judgement.row() == {
        "key": "k",
        "preference": pytest.approx(1.75),
        "judge": "gold",
        "baseline": "base-1",
        "len_1": 2,
        "len_2": 6,
    }


def test_equal_responses_are_a_tie_and_a_missing_reward_is_a_missing_judgement():
    judge = RewardJudge()
    assert judge.compare("k", ("same", "same"), (None, None), "b").preference == 1.5
    missing = judge.compare("k", ("a", "b"), (0.0, math.nan), "b")
    assert missing.preference is None
    assert "reward" in missing.row()["reason"]


def test_a_judgement_has_a_preference_in_range_or_a_reason():
    with pytest.raises(ValueError, match="between 1 and 2"):
        Judgement("k", 2.5, "j", "b", 1, 1)
    with pytest.raises(ValueError, match="reason"):
        Judgement("k", None, "j", "b", 1, 1)
