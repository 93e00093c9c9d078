"""Conformal p-values: how likely an inlier is at least this strange.

With n calibration inliers that an item was drawn like, P(p <= a) <= a for every a, whatever the
score and whatever the distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005).
The smallest p-value is 1 / (n + 1).
"""

from __future__ import annotations

import numpy as np

from innflow.errors import InnflowError


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (1 + #{calibration >= score}) / (n + 1) for each score, (N,).

    Args:
        calibration: (n,) scores of held-out inliers, never of training items.
        scores: (N,) scores of the items in question; higher is stranger.

    Raises:
        InnflowError: where a score is NaN or there is no calibration score.
    """
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    if np.isnan(scores).any():
        raise InnflowError(f"p-values: {int(np.isnan(scores).sum())} scores are NaN")
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1 + at_least) / (len(ordered) + 1)


def leave_one_out_p_values(calibration: np.ndarray) -> np.ndarray:
    """Return for each calibration item its p-value against all the others, (n,)."""
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    # An item's own score is among those that reach it: it stands in for the 1 of the numerator.
    at_least = len(ordered) - np.searchsorted(ordered, calibration, side="left")
    return at_least / len(ordered)


def check_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Return scores, refusing none and NaN."""
    if not len(scores):
        raise InnflowError(f"p-values: there are no {name}")
    if np.isnan(scores).any():
        raise InnflowError(f"p-values: {int(np.isnan(scores).sum())} {name} are NaN")
    return scores
