"""Calibration of posterior draws over many observations.

Shapes: N observations, each with its true parameters (P,) and L draws (L, P) of the posterior.
Samples from the prior also pass these tests; use `innflow.metric.sharpness` to detect that.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, kstest
from sklearn.linear_model import Ridge

from innflow.errors import InnflowError
from innflow.metric.latent_tests import ColumnTests, check_columns

GRID = 100
"""Largest number of points at which an ECDF is compared with its band."""


class LevelTest(NamedTuple):
    """A Kolmogorov-Smirnov test of credible levels.

    Attributes:
        gap: largest difference between the expected coverage of a region and its level.
        p_value: probability of such a gap or a larger one for a calibrated posterior.
    """

    gap: float
    p_value: float


def compute_ranks(truth: ArrayLike, draws: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """Compute the rank of each true parameter among its draws, for simulation-based calibration.

    Ranks are (N, P) int64 from 0 to L for truth (N, P) and draws (N, L, P), uniform where the
    posterior is calibrated; ties are broken at random, as discrete parameters require. From Talts
    et al., "Validating Bayesian Inference Algorithms with Simulation-Based Calibration", 2018.

        >>> compute_ranks([[0.5]], [[[0.1], [0.2], [0.9]]], np.random.default_rng(0))
        array([[2]])

    Raises:
        InnflowError: if the shapes do not match or a value is NaN.
    """
    exact, drawn = check_pairs("ranks", truth, draws)
    return _rank(exact, drawn, axis=1, rng=rng)


def check_ranks(ranks: ArrayLike, draws: int, rng: np.random.Generator) -> ColumnTests:
    """Test that the ranks (N, P) of each true parameter among L = `draws` draws are uniform.

    The test is for continuous values: ranks are spread over their steps first.

        >>> rng = np.random.default_rng(0)
        >>> check_ranks(rng.integers(0, 11, (500, 2)), draws=10, rng=rng).p_value > 0.01
        True
    """
    return check_columns(spread_ranks(ranks, draws, rng), "uniform")


def spread_ranks(ranks: ArrayLike, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Spread ranks from 0 to L over (0, 1), so that uniform ranks become exactly U(0, 1).

    >>> spread_ranks([0, 1], draws=1, rng=np.random.default_rng(0)).round(2)
    array([0.32, 0.63])
    """
    values = np.asarray(ranks)
    return (values + rng.uniform(size=values.shape)) / (draws + 1)


def compute_band(
    n: int, rng: np.random.Generator, level: float = 0.95, simulations: int = 20_000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute a simultaneous confidence band of the ECDF of n uniform values.

    Pointwise binomial intervals, widened until simulated ECDFs lie inside at all points at once;
    from Saeilynoja et al., "Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation", Statistics and Computing 2022.

        >>> points, low, high = compute_band(50, np.random.default_rng(0), simulations=500)
        >>> len(points), bool((low < points).all() and (points < high).all())
        (49, True)

    Returns:
        Points (K,), the band's lower end and its upper end (K,) as distribution functions.
    """
    points = np.linspace(0, 1, min(n, GRID) + 1)[1:-1]
    cells = np.full(len(points) + 1, 1 / (len(points) + 1))
    below = np.cumsum(rng.multinomial(n, cells, size=simulations), axis=1)[:, :-1]
    # Tail probability of the count at each point; its minimum over the points is the statistic of
    # a simultaneous band.
    counts = np.arange(n + 1)[:, None]
    rarity = np.minimum(binom.cdf(counts, n, points), binom.sf(counts - 1, n, points))
    least = np.take_along_axis(rarity, below, axis=0).min(axis=1)
    # Slightly less, so that rounding does not exclude a count on the edge of the band.
    tail = float(np.quantile(least, 1 - level, method="lower")) * (1 - 1e-9)
    return points, binom.ppf(tail, n, points) / n, 1 - binom.ppf(tail, n, 1 - points) / n


def compute_calibration_error(ranks: ArrayLike, draws: int) -> np.ndarray:
    """Compute the median error of the coverage of central marginal intervals over 100 levels.

    Takes ranks (N, P) among L = `draws` draws and returns errors (P,) from 0 to 1. From Ardizzone
    et al., "Analyzing Inverse Problems with Invertible Neural Networks", ICLR 2019.

        >>> compute_calibration_error([[5], [5], [5]], draws=10).round(2)
        array([0.5])
    """
    distance = np.abs((2 * np.asarray(ranks) + 1) / (draws + 1) - 1)
    levels = (np.arange(100) + 0.5) / 100
    coverage = (distance[None] <= levels[:, None, None]).mean(axis=1)
    return np.median(np.abs(coverage - levels[:, None]), axis=0)


def compute_levels(
    log_prob_truth: ArrayLike, log_prob_draws: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """Compute the level of the smallest highest-density region that contains each truth.

    Takes log q(x | y) of the truth (N,) and of draws (N, L); ties are broken at random. The levels
    (N,) in (0, 1) are uniform where the posterior is calibrated, and close to 1 where the truth is
    less probable than nearly all draws. The share of truths with a level below a is the expected
    coverage of the regions of level a. From Hermans et al., "A Trust Crisis In Simulation-Based
    Inference?", TMLR 2022.

        >>> compute_levels([-9.0], [[-1.0, -2.0, -3.0]], np.random.default_rng(0)).round(2)
        array([0.91])

    Raises:
        InnflowError: if the shapes do not match or a value is NaN.
    """
    exact, drawn = np.asarray(log_prob_truth, np.float64), np.asarray(log_prob_draws, np.float64)
    if exact.ndim != 1 or drawn.ndim != 2 or len(exact) != len(drawn) or not drawn.size:
        raise InnflowError(
            f"levels: expected log-densities (N,), (N, L), got {exact.shape} and {drawn.shape}"
        )
    _refuse_nan("levels", exact, drawn)
    # Draws more likely than the truth lie inside its region.
    return spread_ranks(_rank(-exact, -drawn, axis=1, rng=rng), drawn.shape[1], rng)


def compute_tarp(
    truth: ArrayLike, draws: ArrayLike, references: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """Compute the share of draws that are nearer to a reference point than the truth (TARP).

    Takes truth (N, P), draws (N, L, P) and one reference point for each observation (N, P); the
    shares (N,) in (0, 1) are uniform where the posterior is calibrated. From Lemos et al.,
    "Sampling-Based Accuracy Testing of Posterior Estimators for General Inference", ICML 2023.
    Distances are taken in standard deviations of the true parameters; ties are broken at random.
    Reference points may depend on the observation but not on its truth or its draws. With points
    that are independent of the observation, draws of the prior pass; see `draw_tarp_references`.

        >>> rng = np.random.default_rng(0)
        >>> truth, draws = rng.normal(size=(9, 2)), rng.normal(size=(9, 5, 2))
        >>> compute_tarp(truth, draws, np.zeros((9, 2)), rng).shape
        (9,)

    Raises:
        InnflowError: if shapes do not match, a value is not finite or a parameter is constant.
    """
    exact, drawn = check_pairs("TARP", truth, draws)
    points = np.asarray(references, np.float64)
    if points.shape != exact.shape:
        raise InnflowError(f"TARP: references are {points.shape}, the truth {exact.shape}")
    _refuse_nan("TARP", points)
    sd = scale_of_truth("TARP", exact)
    to_truth = np.linalg.norm((exact - points) / sd, axis=1)
    to_draws = np.linalg.norm((drawn - points[:, None]) / sd, axis=2)
    return spread_ranks(_rank(to_truth, to_draws, axis=1, rng=rng), drawn.shape[1], rng)


def draw_tarp_references(truth: ArrayLike, y: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """Draw reference points (N, P) by a noisy linear regression of the truth (N, P) on y (N, M).

    Each half of the observations is predicted by a ridge regression on the other half, whose
    residuals, drawn at random, are the noise: no point depends on its own truth. Since such points
    lie on all sides, TARP does not detect a constant bias of the draws, but the ranks do.

        >>> rng = np.random.default_rng(0)
        >>> draw_tarp_references(rng.normal(size=(8, 2)), rng.normal(size=(8, 3)), rng).shape
        (8, 2)

    Raises:
        InnflowError: if the rows differ, are fewer than four, or a value is not finite.
    """
    exact, data = np.asarray(truth, np.float64), np.asarray(y, np.float64)
    if exact.ndim != 2 or data.ndim != 2 or len(exact) != len(data) or len(exact) < 4:
        raise InnflowError(
            f"TARP: expected truth (N, P), y (N, M) of four rows or more, got {exact.shape} and "
            f"{data.shape}"
        )
    if not (np.isfinite(exact).all() and np.isfinite(data).all()):
        raise InnflowError("TARP: the truth or y holds values that are not finite")
    spread = data.std(axis=0)
    standard = (data - data.mean(axis=0)) / np.where(spread > 0, spread, 1)
    points = np.empty_like(exact)
    first, second = np.array_split(rng.permutation(len(exact)), 2)
    for fitted, predicted in ((first, second), (second, first)):
        model = Ridge(alpha=1.0).fit(standard[fitted], exact[fitted])
        residuals = exact[fitted] - model.predict(standard[fitted]).reshape(len(fitted), -1)
        noise = residuals[rng.integers(len(fitted), size=len(predicted))]
        points[predicted] = model.predict(standard[predicted]).reshape(len(predicted), -1) + noise
    return points


def check_levels(levels: ArrayLike) -> LevelTest:
    """Test that levels of `compute_levels` or `compute_tarp` (N,) are uniform.

    >>> round(check_levels([0.1, 0.3, 0.5, 0.7, 0.9]).gap, 2)
    0.1
    """
    result = kstest(np.asarray(levels, np.float64), "uniform")
    return LevelTest(float(result.statistic), float(result.pvalue))


def _rank(exact: np.ndarray, drawn: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Count the draws below the truth, with ties broken at random."""
    truth = np.expand_dims(exact, axis)
    below, equal = (drawn < truth).sum(axis=axis), (drawn == truth).sum(axis=axis)
    return below + rng.integers(0, equal + 1)


def check_pairs(what: str, truth: ArrayLike, draws: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return truth (N, P) and draws (N, L, P) as float64, refusing other shapes and NaN."""
    exact, drawn = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    if exact.ndim != 2 or drawn.ndim != 3 or not drawn.size:
        raise InnflowError(
            f"{what}: expected truth (N, P), draws (N, L, P), got {exact.shape} and {drawn.shape}"
        )
    if exact.shape != (drawn.shape[0], drawn.shape[2]):
        raise InnflowError(f"{what}: truth {exact.shape} does not match draws {drawn.shape}")
    _refuse_nan(what, exact, drawn)
    return exact, drawn


def _refuse_nan(what: str, *arrays: np.ndarray) -> None:
    bad = sum(int(np.isnan(array).sum()) for array in arrays)
    if bad:
        raise InnflowError(f"{what}: {bad} values are NaN")


def scale_of_truth(what: str, exact: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each parameter over the truths, refusing zero."""
    sd = exact.std(axis=0)
    constant = np.flatnonzero(sd == 0)
    if len(constant):
        raise InnflowError(f"{what}: parameter {constant[0]} is the same in every truth")
    return sd
