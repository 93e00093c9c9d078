"""Importance weights: effective sample size, evidence and the Pareto diagnostic."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from innflow.errors import InnflowError

FEWEST = 100
"""Smallest number of proposals."""
TAIL = 5
"""Smallest number of positive weights above the threshold for a fit of their tail."""
PRIOR_WEIGHT, PRIOR_SHAPE = 10, 0.5
"""Number of pseudo-observations, and their shape, that regularise the fit of a short tail."""


class Importance(NamedTuple):
    """Self-normalised importance weights of K proposals, and their diagnostics.

    Attributes:
        weights: (K,), sum 1.
        effective: effective sample size, 1 / sum of squared weights.
        efficiency: effective sample size / K.
        pareto_k: shape of the tail of the weights; above 0.7 estimates are unreliable.
        log_evidence: log of the mean weight before normalisation, in nats.
        log_evidence_error: its standard error.
    """

    weights: np.ndarray
    effective: float
    efficiency: float
    pareto_k: float
    log_evidence: float
    log_evidence_error: float


def compute_importance(log_ratio: ArrayLike) -> Importance:
    """Compute importance weights from log target - log proposal density (K,), in nats.

    A ratio of -inf has weight 0. The Pareto diagnostic is that of Vehtari, Simpson, Gelman, Yao and
    Gabry, "Pareto smoothed importance sampling" (arXiv:1507.02646); the weights are not smoothed.

        >>> found = compute_importance(np.zeros(1000))
        >>> round(found.efficiency, 6), found.log_evidence, found.pareto_k
        (1.0, 0.0, 0.0)

    Raises:
        InnflowError: if there are fewer than 100, one is NaN or inf, or all are -inf.
    """
    log = np.asarray(log_ratio, np.float64)
    if log.ndim != 1 or len(log) < FEWEST:
        raise InnflowError(
            f"importance weights: {log.shape} ratios, expected (K,) with K of {FEWEST} or more"
        )
    if np.isnan(log).any() or np.isposinf(log).any():
        raise InnflowError("importance weights: a log ratio is NaN or infinite")
    largest = log.max()
    if largest == -np.inf:
        raise InnflowError(f"importance weights: all {len(log):,} proposals have weight 0")
    raw = np.exp(log - largest)
    weights = raw / raw.sum()
    effective = float(1 / np.square(weights).sum())
    # Delta method: variance of the mean weight over its square.
    error = math.sqrt(max(1 / effective - 1 / len(log), 0.0))
    evidence = largest + math.log(raw.mean())
    return Importance(
        weights, effective, effective / len(log), _tail_shape(raw), float(evidence), error
    )


def _tail_shape(weights: np.ndarray) -> float:
    """Return the Pareto shape of the largest weights, 0 where the tail is flat."""
    size = math.ceil(min(0.2 * len(weights), 3 * math.sqrt(len(weights))))
    ordered = np.sort(weights)
    excess = ordered[-size:] - ordered[-size - 1]
    excess = excess[excess > 0]
    if len(excess) >= TAIL:
        return fit_pareto_shape(excess)
    return 0.0 if ordered[-size] > 0 else math.inf


def fit_pareto_shape(excess: ArrayLike) -> float:
    """Fit the shape k of a generalised Pareto distribution to positive values (n,).

    Posterior mean of Zhang and Stephens, "A New and Efficient Estimation Method for the Generalized
    Pareto Distribution", Technometrics 2009, shrunk towards 0.5 by ten pseudo-observations as by
    Vehtari et al. (arXiv:1507.02646). For positive k, moments of order 1/k and above are infinite.

        >>> fit_pareto_shape(np.random.default_rng(0).pareto(2.0, 5000)).__round__(1)
        0.5

    Raises:
        InnflowError: if there are fewer than five values, or one is not positive.
    """
    x = np.sort(np.asarray(excess, np.float64))
    n = len(x)
    if n < TAIL or not x[0] > 0:
        raise InnflowError(f"Pareto fit: needs {TAIL} positive values or more, got {n}")
    points = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    grid = 1 / x[-1] + (1 - np.sqrt(points / (np.arange(points) + 0.5))) / (3 * quartile)
    shapes = np.log1p(-grid[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
    log_likelihood = np.nan_to_num(log_likelihood, nan=-np.inf)
    share = np.exp(log_likelihood - log_likelihood.max())
    theta = (grid * share).sum() / share.sum()
    shape = float(np.log1p(-theta * x).mean())
    return (n * shape + PRIOR_WEIGHT * PRIOR_SHAPE) / (n + PRIOR_WEIGHT)
