"""Conformal p-values of anomaly scores.

If an item is drawn from the distribution of the n calibration inliers, P(p <= a) <= a for every a,
every score and every distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005).
The smallest p-value is 1 / (n + 1).
"""

import math
from collections.abc import Iterable

import numpy as np

from innflow.errors import InnflowError


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (1 + #{calibration >= score}) / (n + 1) for each score, (N,).

    Args:
        calibration: (n,) scores of held-out inliers, never of training items.
        scores: (N,) scores of the items, higher for more anomalous ones.

    Raises:
        InnflowError: if a score is NaN or there is no calibration score.

    Example:
        >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5, 9.0]))
        array([1.  , 0.5 , 0.25])
    """
    return cross_conformal_p_values([(calibration, scores)])


def cross_conformal_p_values(folds: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return p-values of items that a model of each fold scores, (N,).

    Each model was fitted without its fold, which calibrates its scores (Vovk, "Cross-conformal
    predictors", 2015). The counts of all folds are added.

    Args:
        folds: scores (n,) of the fold and scores (N,) of the items by the model of this fold.

    Example:
        >>> cross_conformal_p_values([(np.array([1.0]), np.array([2.0, 0.0]))] * 4)
        array([0.2, 1. ])
    """
    at_least, count = np.array(1), 1
    for calibration, scores in folds:
        ordered = np.sort(check_scores(calibration, "calibration scores"))
        if np.isnan(scores).any():
            raise InnflowError(f"p-values: {int(np.isnan(scores).sum())} scores are NaN")
        at_least = at_least + len(ordered) - np.searchsorted(ordered, scores, side="left")
        count += len(ordered)
    return at_least / count


def smallest_p_value(calibration: int) -> float:
    """Return the smallest p-value that this number of calibration inliers allows, 1 / (n + 1).

    Example:
        >>> smallest_p_value(99)
        0.01
    """
    return 1 / (calibration + 1)


def find_threshold(calibration: np.ndarray, level: float) -> float:
    """Return the score above which the p-value is at most `level`.

    It is infinite for fewer than 1 / level - 1 calibration inliers.

    Example:
        >>> find_threshold(np.array([1.0, 2.0, 3.0]), 0.5)
        2.0
    """
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    above = math.floor(level * (len(ordered) + 1))
    return float(ordered[-above]) if above else math.inf


def leave_one_out_p_values(calibration: np.ndarray) -> np.ndarray:
    """Return the p-value of each calibration item, calibrated on all others, (n,).

    Example:
        >>> leave_one_out_p_values(np.array([1.0, 2.0, 3.0, 4.0]))
        array([1.  , 0.75, 0.5 , 0.25])
    """
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    # The count includes the item itself, which is the 1 of the numerator.
    at_least = len(ordered) - np.searchsorted(ordered, calibration, side="left")
    return at_least / len(ordered)


def check_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Return the scores; raise if there are none or one is NaN."""
    if not len(scores):
        raise InnflowError(f"p-values: there are no {name}")
    if np.isnan(scores).any():
        raise InnflowError(f"p-values: {int(np.isnan(scores).sum())} {name} are NaN")
    return scores
