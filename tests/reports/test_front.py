"""The undominated settings of a figure, by the definition: compared with every other one."""

import random

import pytest

from reports.view.front import undominated


def dominates(one, other, right, up):
    """As good on both axes, and better on one."""
    gains = [(a - b) * (1 if way else -1) for a, b, way in zip(one, other, (right, up), strict=True)]
    return min(gains) >= 0 and max(gains) > 0


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_nothing_on_the_front_is_dominated_and_everything_else_is(right, up):
    numbers = random.Random(3)
    for _ in range(200):
        points = [(numbers.randint(0, 6), numbers.randint(0, 6)) for _ in range(numbers.randint(1, 12))]
        found = undominated(points, right, up)
        free = {a for a in points if not any(dominates(b, a, right, up) for b in points)}
        assert [points[place] for place in found] == sorted(free)  # equal points are one


def test_a_front_by_hand():
    """Cost to the right, reward upwards: the dearer one is worth a place only where it is better."""
    points = [(1.0, 0.0), (2.0, 3.0), (3.0, 2.0), (4.0, 3.5), (4.0, 1.0)]
    assert undominated(points, right=False, up=True) == [0, 1, 3]
