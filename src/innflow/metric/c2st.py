"""Posterior draws compared with reference draws: C2ST, Err_post, moments."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist
from scipy.stats import norm
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from innflow.errors import InnflowError
from innflow.metric.divergence import SCALED, mean_kernel

KERNELS = ((0.5, 1.0), (0.2, 1.0), (0.2, 0.5))


class Moments(NamedTuple):
    """Errors of the first two moments, and expected errors of as many exact draws.

    Attributes:
        mean: largest error of a parameter's mean, in posterior standard deviations.
        covariance: error of the covariance relative to it, in the Frobenius norm.
        mean_floor: median of `mean` for exact draws of independent parameters.
        covariance_floor: root mean square of `covariance` for exact Gaussian draws.
    """

    mean: float
    covariance: float
    mean_floor: float
    covariance_floor: float


def compute_err_post(
    draws: ArrayLike,
    reference: ArrayLike,
    prior_sd: ArrayLike | None = None,
    kernels: Sequence[tuple[float, float]] = KERNELS,
) -> float:
    """Compute Err_post, the biased squared MMD of draws (n, P) from reference draws (m, P).

    The kernel is a sum of inverse multiquadratics, (a C / (C + d^2))^a over the pairs (C, a), those
    of Kruse et al., "HINT: Hierarchical Invertible Neural Transport", AAAI 2021.

    Parameters are divided by the standard deviations of the prior, `prior_sd` (P,), and each C is
    in units of the squared median distance between reference draws (the median heuristic of Gretton
    et al., "A Kernel Two-Sample Test", JMLR 2012), so that the kernel fits a posterior of any
    width and dimension; it is the same for all draws compared with one reference. Without
    `prior_sd` neither is applied. This is the published protocol in raw units; it cannot detect
    differences that are small relative to the fixed widths, or in many dimensions.

    The estimate is biased: for two sets of n exact draws it is about 2 (k(0) - mean k) / n.

        >>> compute_err_post([[0.0], [1.0]], [[0.0], [1.0]], prior_sd=[1.0])
        0.0

    Raises:
        InnflowError: if the columns differ, a value is not finite, or all reference draws
            coincide.
    """
    x, y = _clouds("Err_post", draws, reference)
    unit = 1.0
    if prior_sd is not None:
        x, y = x / np.asarray(prior_sd), y / np.asarray(prior_sd)
        distance = pdist(y[:SCALED])
        if not distance.any():
            raise InnflowError("Err_post: all reference draws coincide, so there is no scale")
        unit = float(np.median(distance[distance > 0])) ** 2

    def kernel(square: np.ndarray) -> np.ndarray:
        values = np.zeros_like(square)
        for c, power in kernels:
            ratio = power * c * unit / (c * unit + square)
            values += ratio if power == 1 else ratio**power
        return values

    within = mean_kernel(x, x, kernel) + mean_kernel(y, y, kernel)
    return within - 2 * mean_kernel(x, y, kernel)


def compute_c2st(
    draws: ArrayLike, reference: ArrayLike, seed: int = 0, folds: int = 5, jobs: int = 1
) -> float:
    """Compute C2ST, the accuracy of a classifier that separates draws from reference draws.

    Both are (n, P); 0.5 is chance. The classifier is that of the sbi benchmark: columns
    standardised by the reference, two hidden layers of 10 P rectified units, Adam, and the mean
    accuracy over shuffled folds, which `jobs` processes fit (-1: all cores). From Lueckmann et al.,
    "Benchmarking Simulation-Based Inference", AISTATS 2021.

        >>> x = np.random.default_rng(0).normal(size=(60, 1))
        >>> compute_c2st(x + 4, x, folds=2) > 0.9
        True

    Raises:
        InnflowError: if the shapes differ, a value is not finite, a column of the reference is
            constant, or there are too few rows.
    """
    x, y = _clouds("C2ST", draws, reference)
    if len(x) != len(y):
        raise InnflowError(
            f"C2ST: {len(x)} draws against {len(y)} of the reference, so that chance is not 0.5; "
            "give equal numbers"
        )
    if 2 * len(x) < max(folds, 4):
        raise InnflowError(f"C2ST: {len(x)} rows per side are too few for {folds} folds")
    mean, sd = y.mean(axis=0), y.std(axis=0, ddof=1)
    constant = np.flatnonzero(sd == 0)
    if len(constant):
        raise InnflowError(
            f"C2ST: column {constant[0]} of the reference is constant; leave it out of both"
        )
    # Single precision, as in the benchmark.
    rows = ((np.concatenate([y, x]) - mean) / sd).astype(np.float32)
    side = np.repeat([0, 1], len(x))
    width = 10 * x.shape[1]
    classifier = MLPClassifier((width, width), max_iter=10_000, random_state=seed)
    split = KFold(n_splits=folds, shuffle=True, random_state=seed)
    scores = cross_val_score(classifier, rows, side, cv=split, scoring="accuracy", n_jobs=jobs)
    return float(scores.mean())


def compute_moments(draws: ArrayLike, mean: ArrayLike, cov: ArrayLike) -> Moments:
    """Compute the errors of the mean and covariance of draws (n, P) in units of the posterior.

    Parameters are divided by their exact standard deviations first.

    `mean` (P,) and `cov` (P, P) are those of the exact posterior or of reference draws.

        >>> compute_moments([[0.0], [2.0]], mean=[1.0], cov=[[2.0]]).mean
        0.0

    Raises:
        InnflowError: if the columns differ, a value is not finite or a variance is not positive.
    """
    exact = np.asarray(cov, np.float64)
    drawn, centre = _clouds("moments", draws, np.asarray(mean, np.float64)[None])
    n, columns = drawn.shape
    if exact.shape != (columns, columns) or not (np.diag(exact) > 0).all():
        raise InnflowError(
            f"moments: the covariance must be ({columns}, {columns}) with a positive diagonal, "
            f"got shape {exact.shape}"
        )
    if n < 2:
        raise InnflowError("moments: need two draws or more")
    sd = np.sqrt(np.diag(exact))
    standard = (drawn - centre[0]) / sd
    correlation = exact / np.outer(sd, sd)
    error = np.cov(standard, rowvar=False).reshape(columns, columns) - correlation
    size = float(np.linalg.norm(correlation))
    return Moments(
        mean=float(np.abs(standard.mean(axis=0)).max()),
        covariance=float(np.linalg.norm(error)) / size,
        mean_floor=float(norm.ppf((1 + 0.5 ** (1 / columns)) / 2)) / math.sqrt(n),
        # Wishart: the squared error has mean (tr(C)^2 + |C|^2) / (n - 1).
        covariance_floor=math.sqrt((columns**2 / size**2 + 1) / (n - 1)),
    )


def _clouds(what: str, draws: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(draws, np.float64), np.asarray(reference, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise InnflowError(
            f"{what}: expected (rows, P) twice with the same P, got {x.shape} and {y.shape}"
        )
    for name, cloud in (("draws", x), ("the reference", y)):
        bad = int((~np.isfinite(cloud).all(axis=1)).sum())
        if bad:
            raise InnflowError(f"{what}: {bad} of {len(cloud)} rows of {name} are not finite")
    return x, y
