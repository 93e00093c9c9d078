"""Correlations that say so where there is none to speak of."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

FEWEST = 3


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two arrays (N,); NaN for fewer than 3 items or a constant one."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    # A constant array misses its own mean by rounding: it is told by its values.
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of the ranks of two arrays (N,), ties at their mean rank.

    Infinite values have a rank like all others. NaN where `pearson` is.
    """
    return pearson(rankdata(a), rankdata(b))


def spearman_matrix(columns: np.ndarray) -> np.ndarray:
    """Return the rank correlations (S, S) of the columns of (N, S)."""
    ranks = rankdata(columns, axis=0)
    count = ranks.shape[1]
    matrix = np.eye(count)
    for i in range(count):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = pearson(ranks[:, i], ranks[:, j])
    return matrix
