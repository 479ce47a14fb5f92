"""Families of comparisons: Holm's step-down correction."""

import numpy as np
from numpy.typing import ArrayLike

from reports.errors import ReportError


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm-adjusted p-values (Holm 1979, "A simple sequentially rejective multiple test procedure"), in order.

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection in the family at most α,
    whatever the dependence. Raises ReportError for a value outside [0, 1].
    """
    p = np.asarray(p_values, float).ravel()
    if not ((p >= 0) & (p <= 1)).all():
        raise ReportError("holm: a p-value outside [0, 1]; leave out comparisons that could not be tested")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)
