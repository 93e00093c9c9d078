"""Tests of latent variables: normality, independence of the data."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kstest

from innflow.errors import InnflowError

ROWS = 1000
"""Largest number of rows: memory and time of a permutation grow with its square."""


class Independence(NamedTuple):
    """A permutation test of independence.

    Attributes:
        correlation: bias-corrected squared distance correlation: expectation 0 for independence
            (so it may be negative), 1 for a similarity transform.
        p_value: of the permutation test.
    """

    correlation: float
    p_value: float


class ColumnTests(NamedTuple):
    """Kolmogorov-Smirnov tests of the columns of an array.

    Attributes:
        distances: (K,) largest difference of the distribution functions.
        p_values: (K,) of each column by itself.
        p_value: the smallest of them after Holm's correction for K tests.
    """

    distances: np.ndarray
    p_values: np.ndarray
    p_value: float


def check_columns(values: np.ndarray, law: str) -> ColumnTests:
    """Test each column of values (N, K) against a distribution of scipy, such as "norm"."""
    distances, p_values = np.transpose([kstest(column, law)[:2] for column in values.T])
    return ColumnTests(distances, p_values, min(1.0, len(p_values) * float(p_values.min())))


def compute_independence(
    z: ArrayLike, y: ArrayLike, seed: int = 0, permutations: int = 499, rows: int = ROWS
) -> Independence:
    """Test by distance correlation that z is independent of y.

    From Szekely and Rizzo, "The distance correlation t-test of independence in high dimension",
    Journal of Multivariate Analysis 2013; it is sensitive to nonlinear dependence too.

        >>> z = np.random.default_rng(0).normal(size=(60, 2))
        >>> compute_independence(z, z**2, permutations=99).p_value
        0.01

    Args:
        z: (N, K).
        y: (N, M); columns are standardised, constant ones left out.
        seed: seed of the permutations and of the choice of rows.
        permutations: the p-value is at least 1 / (permutations + 1).
        rows: largest number of rows used, drawn at random.

    Raises:
        InnflowError: if the rows differ or are fewer than four, a value is not finite, or
            either side is constant.
    """
    latent, data = np.asarray(z, np.float64), np.asarray(y, np.float64)
    if latent.ndim != 2 or data.ndim != 2 or len(latent) != len(data) or len(latent) < 4:
        raise InnflowError(
            f"independence: expected z (N, K), y (N, M) of four rows or more, got {latent.shape} "
            f"and {data.shape}"
        )
    if not (np.isfinite(latent).all() and np.isfinite(data).all()):
        raise InnflowError("independence: z or y holds values that are not finite")
    rng = np.random.default_rng(seed)
    if len(latent) > rows:
        chosen = rng.choice(len(latent), rows, replace=False)
        latent, data = latent[chosen], data[chosen]
    spread = data.std(axis=0)
    if not (spread > 0).any() or not (latent.std(axis=0) > 0).any():
        raise InnflowError("independence: z or y is the same in every row")
    a, b = _centred(latent), _centred(data[:, spread > 0] / spread[spread > 0])
    size = np.sqrt(np.square(a).sum() * np.square(b).sum())
    # float32 halves the memory traffic, which dominates the time of the permutations.
    narrow, wide = a.astype(np.float32), b.astype(np.float32)
    own, beaten = np.vdot(narrow, wide), 0
    for _ in range(permutations):
        order = rng.permutation(len(a))
        beaten += int(np.vdot(narrow, wide[order][:, order]) >= own)
    return Independence(float(np.vdot(a, b) / size), (1 + beaten) / (1 + permutations))


def compute_normality(z: ArrayLike) -> ColumnTests:
    """Test each dimension of z (N, K) against the standard normal.

    With many rows even a small departure has a small p-value: consider the distances too.

        >>> compute_normality(np.random.default_rng(0).normal(size=(200, 2)) + 1).p_value < 1e-6
        True

    Raises:
        InnflowError: if z is not (N, K) or a value is NaN.
    """
    latent = np.asarray(z, np.float64)
    if latent.ndim != 2 or not latent.size or np.isnan(latent).any():
        raise InnflowError(f"normality: expected z (N, K) without NaN, got {latent.shape}")
    return check_columns(latent, "norm")


def _centred(points: np.ndarray) -> np.ndarray:
    """Return the U-centred distances: rows sum to zero off a diagonal of zeros."""
    n = len(points)
    distance = squareform(pdist(points))
    rows = distance.sum(axis=1) / (n - 2)
    centred = distance - rows[:, None] - rows + distance.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred
