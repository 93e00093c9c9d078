"""Correlation coefficients, NaN where they are not defined."""

from itertools import combinations

import numpy as np
from scipy.stats import rankdata

FEWEST = 3


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays (N,), NaN for N < 3 or where one is constant.

    >>> pearson([1, 2, 3], [2, 4, 6]), pearson([1, 2, 3], [5, 5, 5])
    (1.0, nan)
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    # Rounding can give a constant array a small variance, so its range is tested.
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (N,), ties at their mean rank; may be NaN.

    >>> spearman([1, 2, 3], [1, 10, np.inf])
    1.0
    """
    return pearson(rankdata(a), rankdata(b))


def spearman_matrix(columns: np.ndarray) -> np.ndarray:
    """Return the rank correlations (S, S) of the columns of (N, S).

    >>> spearman_matrix(np.array([[1, 3], [2, 2], [3, 1]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    ranks = rankdata(columns, axis=0).T
    matrix = np.eye(len(ranks))
    for i, j in combinations(range(len(ranks)), 2):
        matrix[i, j] = matrix[j, i] = pearson(ranks[i], ranks[j])
    return matrix
