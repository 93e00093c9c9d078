"""Tests of whether a batch of items comes from the distribution of the inliers.

`batch_p_value` is the exact Mann-Whitney test, valid for every score. `typicality_p_value` is the
two-sided test of the mean likelihood of Nalisnick et al., arXiv:1906.02994.
"""

import math
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from innflow.errors import InnflowError
from innflow.score.conformal import check_scores, p_values

# Largest n m^2 for the exact null distribution, which then takes a few seconds.
EXACT = 10_000_000
# Resamples are drawn in blocks of at most this many numbers, which bounds the memory.
BLOCK = 1_000_000


class Power(NamedTuple):
    """Rejection rates of a test of batches.

    Attributes:
        outliers: share of rejected batches of outliers, the power.
        inliers: share of rejected batches of inliers, the false positive rate.

    Example:
        >>> Power(outliers=0.9, inliers=0.05).outliers
        0.9
    """

    outliers: float
    inliers: float


def batch_p_value(calibration: np.ndarray, scores: np.ndarray) -> float:
    """Return the p-value of the one-sided Mann-Whitney test of a batch, exact in finite samples.

    If the batch is drawn from the distribution of the calibration items, P(p <= a) <= a for every a
    and every score. For a batch of one item this equals `p_values`; ties are treated alike.

    Args:
        calibration: (n,) scores of held-out inliers, never of training items.
        scores: (m,) scores of the batch, higher for more anomalous items.

    Raises:
        InnflowError: if a score is NaN, a side is empty, or n m^2 is above 10,000,000.

    Example:
        >>> batch_p_value(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0]))
        0.1
    """
    below = _below(calibration, scores)
    return _tail(len(calibration), len(below))[int(below.sum())]


def batch_power(
    calibration: np.ndarray,
    inliers: np.ndarray,
    outliers: np.ndarray,
    size: int,
    draws: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
) -> Power:
    """Return the rejection rates of `batch_p_value` at level alpha over random batches.

    The items of a batch are drawn without replacement.

    Args:
        calibration: (n,) scores of held-out inliers.
        inliers: (N,) scores of other held-out inliers.
        outliers: (M,) scores.
        size: number of items in a batch.
        draws: number of batches of either kind.
        alpha: level of the test.
        seed: seed of the batches.

    Raises:
        InnflowError: if a side has fewer items than a batch, and as `batch_p_value`.

    Example:
        >>> inliers = np.arange(60.0)
        >>> batch_power(inliers[::2], inliers[1::2], inliers + 100, size=5, draws=10).outliers
        1.0
    """
    tail = np.array(_tail(len(calibration), size))
    batches = _draw_batches(outliers, inliers, size, draws, seed)
    p = tail[_below(calibration, batches).sum(axis=2)]
    return Power(*(p <= alpha).mean(axis=1).tolist())


def typicality_p_value(
    calibration: np.ndarray,
    scores: np.ndarray,
    entropy: float,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Return the p-value of the statistic |mean nll - entropy| of a batch.

    Its null distribution is estimated by resampling the calibration items, so the p-value is
    accurate only if they are many.

    Args:
        calibration: (n,) negative log likelihoods of held-out inliers in nats.
        scores: (m,) negative log likelihoods of the batch.
        entropy: mean negative log likelihood of the training set.
        resamples: number of batches drawn with replacement from the calibration items.
        seed: seed of the resamples.

    Example:
        >>> nll = np.random.default_rng(0).normal(size=100)
        >>> typicality_p_value(nll, np.full(5, 9.0), entropy=0.0, resamples=99)
        0.01
    """
    batch = check_scores(scores, "scores")
    null = _null_statistics(calibration, len(batch), entropy, resamples, seed)
    return float(p_values(null, np.abs(batch.mean() - entropy)))


def typicality_power(
    calibration: np.ndarray,
    inliers: np.ndarray,
    outliers: np.ndarray,
    size: int,
    draws: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
    *,
    entropy: float,
) -> Power:
    """Return the rejection rates of `typicality_p_value`; arguments as for `batch_power`.

    Calibration, inliers and outliers are negative log likelihoods in nats.

    Example:
        >>> nll = np.random.default_rng(0).normal(size=100)
        >>> typicality_power(nll, nll, nll + 9, size=5, draws=10, entropy=0.0).outliers
        1.0
    """
    null = _null_statistics(calibration, size, entropy, 9999, seed)
    batches = _draw_batches(outliers, inliers, size, draws, seed)
    p = p_values(null, np.abs(batches.mean(axis=2) - entropy))
    return Power(*(p <= alpha).mean(axis=1).tolist())


def _null_statistics(
    calibration: np.ndarray, size: int, entropy: float, resamples: int, seed: int
) -> np.ndarray:
    """Return |mean nll - entropy| of resamples of the calibration items, (resamples,)."""
    scores = check_scores(calibration, "calibration scores")
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // size)
    blocks = [
        rng.choice(scores, (min(rows, resamples - start), size)).mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.abs(np.concatenate(blocks) - entropy)


def _draw_batches(
    outliers: np.ndarray, inliers: np.ndarray, size: int, draws: int, seed: int
) -> np.ndarray:
    """Return batches of outliers, then of inliers, (2, draws, size); raise if there are too few."""
    rng = np.random.default_rng(seed)
    sides = []
    for name, scores in (("outliers", outliers), ("inliers", inliers)):
        if len(scores) < size:
            raise InnflowError(f"batches of {size}: there are {len(scores)} {name}")
        check_scores(scores, "scores")
        sides.append([rng.choice(scores, size, replace=False) for _ in range(draws)])
    return np.array(sides)


def _below(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the number of calibration scores below each score; the sum is Mann-Whitney's U."""
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    return np.searchsorted(ordered, check_scores(scores, "scores"), side="left")


@lru_cache(maxsize=16)
def _tail(n: int, m: int) -> tuple[float, ...]:
    """Return P(U >= u) for u = 0 ... nm under the null hypothesis of n + m exchangeable scores.

    The numbers of orders with U = u are the coefficients of the Gaussian binomial of n + m and m,
    the product of (1 - q^(n + i)) / (1 - q^i) for i = 1 ... m; integers of arbitrary size.
    """
    if m < 1 or n * m * m > EXACT:
        raise InnflowError(
            f"batch of {m} items against {n} calibration items: must be at least 1 and at most "
            f"{math.isqrt(EXACT // n)}"
        )
    top = n * m
    orders = [1] + [0] * top
    for i in range(1, m + 1):
        for u in range(top, n + i - 1, -1):
            orders[u] -= orders[u - n - i]
        for u in range(i, top + 1):
            orders[u] += orders[u - i]
    # U and nm - U have the same distribution.
    return tuple(count / math.comb(n + m, m) for count in accumulate(orders))[::-1]
