import numpy as np
import pytest

from reports.errors import ReportError
from reports.family import holm


def test_the_textbook_example():
    """Wright 1992, "Adjusted p-values for simultaneous inference", as R's p.adjust(method="holm") gives it."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.001, 0.5]) == pytest.approx([0.08, 0.003, 0.5])


def test_it_rejects_exactly_what_the_step_down_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.2, 6) ** 2
        rejected = np.zeros(6, bool)
        for k, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (6 - k):
                break
            rejected[place] = True
        assert ((holm(p) <= 0.05) == rejected).all()


def test_no_family_and_no_p_value():
    assert holm([]).size == 0
    with pytest.raises(ReportError, match="outside"):
        holm([0.1, float("nan")])
