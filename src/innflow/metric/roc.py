"""Detection of outliers by a score that is higher for outliers: AUROC, AUPR, FPR at 95% TPR.

AUROC and AUPR take the outliers as the positive class. FPR at 95% TPR takes the inliers as the
positive class, as is usual in out-of-distribution detection: the threshold accepts 95% of the
inliers, and the rate is the share of outliers that are accepted (smaller is better).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from innflow.errors import InnflowError

BLOCK = 4_000_000
"""Largest number of counts in a block of resamples, so that memory stays bounded."""


class Estimate(NamedTuple):
    """A number with its bootstrap interval.

    >>> str(Estimate(0.9, 0.85, 0.95))
    '0.900 [0.850, 0.950]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auroc(inliers: ArrayLike, outliers: ArrayLike) -> float:
    """Return the probability that an outlier scores higher than an inlier, ties counted half.

    >>> auroc([1, 2, 3], [2, 4])
    0.75
    """
    return float(_auroc(*_counts(inliers, outliers))[0])


def compute_ood(
    inliers: ArrayLike,
    outliers: ArrayLike,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute AUROC, AUPR and FPR at 95% TPR with percentile bootstrap intervals.

    The bootstrap is stratified: scores of inliers (N,) and of outliers (M,) are resampled
    separately, which keeps their proportion, on which AUPR depends. Returns `auroc`, `aupr` and
    `fpr95`, each with its interval of coverage `level`.

        >>> compute_ood([1, 2, 3], [4, 5], resamples=10)["auroc"].value
        1.0

    Raises:
        InnflowError: if a score is NaN or a side is empty.
    """
    inside, outside = _counts(inliers, outliers)
    rng = np.random.default_rng(seed)
    blocks = [
        (_auroc(*block), _aupr(*block), _fpr(*block, 0.95))
        for block in _resampled(inside[0], outside[0], resamples, rng)
    ]
    values = (_auroc(inside, outside), _aupr(inside, outside), _fpr(inside, outside, 0.95))
    tail = (1 - level) / 2
    estimates = {}
    for position, name in enumerate(("auroc", "aupr", "fpr95")):
        draws = np.concatenate([block[position] for block in blocks])
        low, high = np.quantile(draws, [tail, 1 - tail])
        estimates[name] = Estimate(float(values[position][0]), float(low), float(high))
    return estimates


def _counts(inliers: ArrayLike, outliers: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Count the inliers and the outliers at each distinct score, ascending: two (1, K) arrays."""
    sides = []
    for name, side in (("inliers", inliers), ("outliers", outliers)):
        scores = np.asarray(side, dtype=np.float64).ravel()
        if not len(scores):
            raise InnflowError(f"out-of-distribution metrics: there are no {name}")
        bad = int(np.isnan(scores).sum())
        if bad:
            raise InnflowError(
                f"out-of-distribution metrics: {bad} of {len(scores)} scores of {name} are NaN"
            )
        sides.append(scores)
    distinct, where = np.unique(np.concatenate(sides), return_inverse=True)
    split = len(sides[0])
    inside = np.bincount(where[:split], minlength=len(distinct))
    outside = np.bincount(where[split:], minlength=len(distinct))
    return inside[None], outside[None]


def _resampled(
    inside: np.ndarray, outside: np.ndarray, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield bootstrap resamples of both sides as blocks of counts, each (rows, K).

    Resampling n items with replacement is a multinomial draw over the distinct scores.
    """
    rows = max(1, BLOCK // len(inside))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        yield (
            rng.multinomial(inside.sum(), inside / inside.sum(), size=size),
            rng.multinomial(outside.sum(), outside / outside.sum(), size=size),
        )


def _auroc(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    below = np.cumsum(inside, axis=1) - 0.5 * inside
    pairs = inside.sum(axis=1) * outside.sum(axis=1)
    return (below * outside).sum(axis=1) / pairs


def _aupr(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    true = np.cumsum(outside[:, ::-1], axis=1)[:, ::-1]
    false = np.cumsum(inside[:, ::-1], axis=1)[:, ::-1]
    precision = true / np.maximum(true + false, 1)
    return (precision * outside).sum(axis=1) / outside.sum(axis=1)


def _fpr(inside: np.ndarray, outside: np.ndarray, tpr: float) -> np.ndarray:
    accepted = np.cumsum(inside, axis=1)
    # The margin is for rounding: 0.95 * 20 = 19.000000000000004 must not require 20 inliers.
    enough = accepted >= (tpr * accepted[:, -1:] - 1e-9)
    threshold = enough.argmax(axis=1)
    admitted = np.take_along_axis(np.cumsum(outside, axis=1), threshold[:, None], axis=1)[:, 0]
    return admitted / outside.sum(axis=1)
