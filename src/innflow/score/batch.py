"""Is this batch from elsewhere? A group of items says more than each of them.

`batch_p_value` needs nothing but scores of held-out inliers and is exact for every score.
`typicality_p_value` is the test of Nalisnick et al., "Detecting Out-of-Distribution Inputs to Deep
Generative Models Using Typicality", 2019: a batch whose mean likelihood is unusual, to either side.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from innflow.errors import InnflowError
from innflow.score.conformal import check_scores

# Products of the counts whose exact null distribution takes a few seconds.
EXACT = 10_000_000
# Resamples are drawn in blocks of at most this many numbers, so that memory stays bounded.
BLOCK = 1_000_000


class Power(NamedTuple):
    """What a test of batches finds.

    Attributes:
        outliers: share of batches of outliers that are flagged.
        inliers: share of batches of inliers that are flagged too.
    """

    outliers: float
    inliers: float


def batch_p_value(calibration: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance that a batch of inliers is at least this strange, by its rank sum.

    The Mann-Whitney test, one-sided. If the batch is drawn as the calibration items are,
    P(p <= a) <= a for every a, whatever the score: all orders of the items are equally likely, and
    the distribution of the rank sum is counted, not approximated. A tie counts against the batch
    being strange, as in `p_values`, which is the case of one item.

    Args:
        calibration: (n,) scores of held-out inliers, never of training items.
        scores: (m,) scores of the batch; higher is stranger.

    Raises:
        InnflowError: where a score is NaN, a side is empty, or the batch is too large to count.
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
    """Return the shares of random batches of outliers and of inliers with a p-value up to alpha.

    Batches are drawn without replacement, each anew.

    Args:
        calibration: (n,) scores of held-out inliers.
        inliers: (N,) scores of other held-out inliers.
        outliers: (M,) scores.
        size: items of a batch.
        draws: batches of either kind.
        alpha: level of the test.
        seed: of the draws.

    Raises:
        InnflowError: where a side has fewer items than a batch, and as `batch_p_value`.
    """
    tail = np.array(_tail(len(calibration), size))
    rng = np.random.default_rng(seed)
    shares = []
    for scores in _sides(outliers, inliers, size):
        below = _below(calibration, scores)
        sums = [rng.choice(below, size, replace=False).sum() for _ in range(draws)]
        shares.append(float(np.mean(tail[sums] <= alpha)))
    return Power(*shares)


def typicality_p_value(
    calibration: np.ndarray,
    scores: np.ndarray,
    entropy: float,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Return the chance that the mean likelihood of a batch of inliers is at least this unusual.

    The statistic is |mean nll - entropy|; its distribution over batches of inliers is that over
    resamples of the calibration items, so the p-value is as good as they are many.

    Args:
        calibration: (n,) negative log likelihoods of held-out inliers in nats.
        scores: (m,) negative log likelihoods of the batch.
        entropy: mean negative log likelihood of the training set.
        resamples: batches that are drawn with replacement from the calibration items.
        seed: of the resamples.
    """
    batch = check_scores(scores, "scores")
    null = _unusual(calibration, len(batch), entropy, resamples, seed)
    at_least = len(null) - np.searchsorted(null, abs(batch.mean() - entropy), side="left")
    return float((1 + at_least) / (resamples + 1))


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
    """Return the shares of random batches whose mean likelihood has a p-value up to alpha.

    As `batch_power`, by `typicality_p_value`; all three are negative log likelihoods in nats.
    """
    resamples = 9999
    null = _unusual(calibration, size, entropy, resamples, seed)
    rng = np.random.default_rng(seed)
    shares = []
    for values in _sides(outliers, inliers, size):
        means = [rng.choice(values, size, replace=False).mean() for _ in range(draws)]
        unusual = np.abs(np.array(means) - entropy)
        at_least = len(null) - np.searchsorted(null, unusual, side="left")
        shares.append(float(np.mean((1 + at_least) / (resamples + 1) <= alpha)))
    return Power(*shares)


def _unusual(
    calibration: np.ndarray, size: int, entropy: float, resamples: int, seed: int
) -> np.ndarray:
    """Return |mean nll - entropy| of resamples of the calibration items, in rising order."""
    known = check_scores(calibration, "calibration scores")
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // size)
    blocks = [
        rng.choice(known, (min(rows, resamples - start), size)).mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.sort(np.abs(np.concatenate(blocks) - entropy))


def _sides(outliers: np.ndarray, inliers: np.ndarray, size: int) -> list[np.ndarray]:
    """Return both as they are, or raise where one has fewer items than a batch."""
    for name, scores in (("outliers", outliers), ("inliers", inliers)):
        if len(scores) < size:
            raise InnflowError(f"batches of {size}: there are {len(scores)} {name}")
    return [check_scores(scores, "scores") for scores in (outliers, inliers)]


def _below(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return for each score how many calibration scores are below it: their sum is Mann's U."""
    ordered = np.sort(check_scores(calibration, "calibration scores"))
    return np.searchsorted(ordered, check_scores(scores, "scores"), side="left")


@lru_cache(maxsize=16)
def _tail(n: int, m: int) -> tuple[float, ...]:
    """Return P(U >= u) for u = 0 ... nm, where all orders of n + m scores are equally likely.

    The orders with U = u are the coefficients of the Gaussian binomial of n + m and m, which is
    the product of (1 - q^(n + i)) / (1 - q^i) for i = 1 ... m; they are whole numbers without end.
    """
    if m < 1 or n * m * m > EXACT:
        raise InnflowError(
            f"batch of {m} items against {n} calibration items: takes at least 1 and at most "
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
