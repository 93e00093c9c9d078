"""Accuracy and calibration of class probabilities, temperature scaling, modes covered."""

import logging
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from innflow.errors import InnflowError

log = logging.getLogger(__name__)

BINS = 15
HOTTEST = 1e4
"""Temperatures are searched from 1 / HOTTEST to HOTTEST."""
_WITHIN = 4.0


class Reliability(NamedTuple):
    """Mean confidence, accuracy and number of items in each of K equal bins of confidence, (K,).

    Confidence and accuracy are NaN where a bin is empty.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray


class Coverage(NamedTuple):
    """Share of draws at each mode (K,), share far from all modes, number of modes covered."""

    shares: np.ndarray
    far: float
    covered: int


def compute_classification(
    probabilities: ArrayLike,
    labels: ArrayLike,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Compute accuracy, log loss, Brier score and calibration errors.

    The calibration errors compare the confidence, the largest probability, with the accuracy in
    15 equal bins (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

        >>> found = compute_classification([[0.9, 0.1], [0.2, 0.8]], [0, 1])
        >>> found["accuracy"], round(found["ece"], 3), round(found["nll"], 3)
        (1.0, 0.15, 0.164)

    Args:
        probabilities: (N, C), each row sums to one.
        labels: (N,) true classes, 0 to C - 1.
        resamples: number of bootstrap resamples of the accuracy.
        level: level of its confidence interval.
        seed: seed of the resamples.

    Returns:
        `accuracy`, `accuracy_low` and `accuracy_high`, its percentile bootstrap interval; `nll`,
        nats per item, infinite where a true class has probability 0; `brier`, the squared distance
        from the one-hot label, 0 to 2; `ece` and `mce`, the mean and the largest difference
        between confidence and accuracy.

    Raises:
        InnflowError: if rows are not probabilities or labels are not classes.
    """
    p, y = _check(probabilities, labels)
    if p.shape[1] < 2:
        raise InnflowError("classification metrics: at least two classes are needed")
    correct = p.argmax(1) == y
    # Resampling the N outcomes with replacement is a binomial draw.
    draws = np.random.default_rng(seed).binomial(len(y), correct.mean(), resamples) / len(y)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    true = p[np.arange(len(y)), y]
    with np.errstate(divide="ignore"):
        nll = -np.log(true)
    bins = reliability(p, y)
    gaps = np.abs(bins.confidence - bins.accuracy)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "nll": float(nll.mean()),
        "brier": float(((p**2).sum(1) - 2 * true + 1).mean()),
        "ece": float(np.nansum(gaps * bins.counts)) / len(y),
        "mce": float(np.nanmax(gaps)),
    }


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Reliability:
    """Compute a reliability diagram: accuracy against confidence in equal bins from 0 to 1.

    Takes probabilities (N, C) and true classes (N,); the last bin includes a confidence of one.

        >>> reliability([[0.9, 0.1], [0.2, 0.8]], [0, 1], bins=2).counts
        array([0, 2])
    """
    p, y = _check(probabilities, labels)
    confidence, correct = p.max(1), p.argmax(1) == y
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            np.bincount(place, confidence, bins) / counts,
            np.bincount(place, correct, bins) / counts,
            counts,
        )


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature T whose softmax(logits / T) has the least log loss.

    From Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Without a misclassified
    item there is no optimum (the loss decreases towards T = 0): T is then 1, with a warning.

        >>> round(fit_temperature([[2.0, 0.0]] * 4, [0, 0, 0, 1]), 2)
        1.82

    Args:
        logits: (N, C) in nats: for a generative classifier log p(x | class) + log p(class).
        labels: (N,) true classes, of items used neither for training nor for testing.
    """
    scores = np.asarray(logits, dtype=np.float64)
    y = _check_labels(scores, labels)
    if (scores.argmax(1) == y).all():
        log.warning(
            "temperature scaling: none of %s items is misclassified: the temperature stays 1",
            f"{len(y):,}",
        )
        return 1.0

    def loss(log_temperature: float) -> float:
        rows = log_softmax(scores / math.exp(log_temperature), axis=1)
        return -float(rows[np.arange(len(y)), y].mean())

    bound = math.log(HOTTEST)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


def modes_covered(x: ArrayLike, centres: ArrayLike, sigma: float) -> Coverage:
    """Count the modes with centres (K, D) and standard deviation sigma that draws (N, D) cover.

    A draw within 4 sigma of the nearest centre belongs to that mode, others are far. One of K
    equally likely modes is covered if it has at least half of its expected share 1 / K.

        >>> modes_covered([[0.0, 0.1], [0.1, 0.0]], [[0.0, 0.0], [5.0, 5.0]], sigma=0.2).covered
        1
    """
    points, modes = np.asarray(x, dtype=np.float64), np.asarray(centres, dtype=np.float64)
    if not len(points) or not np.isfinite(points).all():
        raise InnflowError("modes covered: there are no draws, or some are not finite")
    distance = np.stack([np.linalg.norm(points - centre, axis=1) for centre in modes], axis=1)
    near = distance.min(1) <= _WITHIN * sigma
    shares = np.bincount(distance.argmin(1)[near], minlength=len(modes)) / len(points)
    return Coverage(shares, float(1 - near.mean()), int((shares >= 0.5 / len(modes)).sum()))


def _check(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p = np.asarray(probabilities, dtype=np.float64)
    y = _check_labels(p, labels)
    if p.min() < 0 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise InnflowError(
            "classification metrics: rows of probabilities are negative or do not sum to 1"
        )
    return p, y


def _check_labels(rows: np.ndarray, labels: ArrayLike) -> np.ndarray:
    y = np.asarray(labels)
    if rows.ndim != 2 or not rows.size or y.shape != rows.shape[:1]:
        raise InnflowError(
            f"classification metrics: expected rows (N, C) and labels (N,), got {rows.shape} and "
            f"{y.shape}"
        )
    bad = int((~np.isfinite(rows)).any(1).sum())
    if bad:
        raise InnflowError(
            f"classification metrics: {bad} of {len(rows)} rows have values that are not finite"
        )
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= rows.shape[1]:
        raise InnflowError(
            f"classification metrics: labels must be integers from 0 to {rows.shape[1] - 1}"
        )
    return y.astype(np.int64)
