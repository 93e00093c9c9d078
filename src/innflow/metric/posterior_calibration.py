"""Whether posterior draws over many observations are calibrated.

Shapes throughout: N observations, each with its true parameters (P,) and L draws (L, P) of the
posterior under test. Draws of the prior are calibrated too: see `innflow.metric.sharpness`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, kstest
from sklearn.linear_model import Ridge

from innflow.errors import InnflowError

# An ECDF is compared with its band at no more points than this.
GRID = 100


class RankTest(NamedTuple):
    """Kolmogorov-Smirnov tests of ranks.

    Attributes:
        p_values: (P,) of each parameter by itself.
        p_value: the smallest of them after Holm's correction for P tests.
    """

    p_values: np.ndarray
    p_value: float


class LevelTest(NamedTuple):
    """A Kolmogorov-Smirnov test of credible levels.

    Attributes:
        gap: largest difference between the expected coverage of a region and its level.
        p_value: chance of a gap this wide from a calibrated posterior.
    """

    gap: float
    p_value: float


def compute_ranks(truth: ArrayLike, draws: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """Compute for simulation-based calibration the rank of each true parameter among its draws.

    From Talts et al., "Validating Bayesian Inference Algorithms with Simulation-Based
    Calibration", 2018. Equal values are ordered at random, so that discrete parameters do not
    look miscalibrated.

    Args:
        truth: (N, P).
        draws: (N, L, P).
        rng: orders equal values.

    Returns:
        (N, P) int64 from 0 to L, uniform where the posterior is calibrated.

    Raises:
        InnflowError: where the shapes do not match or a value is NaN.
    """
    exact, drawn = check_pairs("ranks", truth, draws)
    return _rank(exact, drawn, axis=1, rng=rng)


def check_ranks(ranks: ArrayLike, draws: int, rng: np.random.Generator) -> RankTest:
    """Test that each parameter's ranks are uniform.

    Args:
        ranks: (N, P) from `compute_ranks`.
        draws: L, the number of draws that they count.
        rng: spreads each rank over its step, since the test takes continuous values.
    """
    spread = spread_ranks(ranks, draws, rng)
    p_values = np.array([kstest(column, "uniform").pvalue for column in spread.T])
    return RankTest(p_values, min(1.0, len(p_values) * float(p_values.min())))


def spread_ranks(ranks: ArrayLike, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Spread ranks from 0 to L evenly over (0, 1), so that uniform ranks become U(0, 1) exactly."""
    values = np.asarray(ranks)
    return (values + rng.uniform(size=values.shape)) / (draws + 1)


def compute_band(
    n: int, rng: np.random.Generator, level: float = 0.95, simulations: int = 20_000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute a band that holds the whole ECDF of n uniform values with the given chance.

    Pointwise binomial intervals, widened until simulated ECDFs stay inside at all points at once;
    from Saeilynoja et al., "Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation", Statistics and Computing 2022.

    Returns:
        Points (K,), the band's lower end and its upper end (K,) as distribution functions.
    """
    points = np.linspace(0, 1, min(n, GRID) + 1)[1:-1]
    cells = np.full(len(points) + 1, 1 / (len(points) + 1))
    below = np.cumsum(rng.multinomial(n, cells, size=simulations), axis=1)[:, :-1]
    # The chance of a count as far out on its side, at each point; the least over the points is
    # what a simultaneous band must allow.
    counts = np.arange(n + 1)[:, None]
    rarity = np.minimum(binom.cdf(counts, n, points), binom.sf(counts - 1, n, points))
    least = np.take_along_axis(rarity, below, axis=0).min(axis=1)
    # A shade less, so that rounding does not put a count on the band's edge outside.
    tail = float(np.quantile(least, 1 - level, method="lower")) * (1 - 1e-9)
    return points, binom.ppf(tail, n, points) / n, 1 - binom.ppf(tail, n, 1 - points) / n


def compute_calibration_error(ranks: ArrayLike, draws: int) -> np.ndarray:
    """Compute the median error of the coverage of central marginal intervals over 100 levels.

    From Ardizzone et al., "Analyzing Inverse Problems with Invertible Neural Networks", ICLR 2019.

    Args:
        ranks: (N, P) from `compute_ranks`.
        draws: L, the number of draws that they count.

    Returns:
        (P,) each from 0 to 1.
    """
    distance = np.abs((2 * np.asarray(ranks) + 1) / (draws + 1) - 1)
    levels = (np.arange(100) + 0.5) / 100
    coverage = (distance[None] <= levels[:, None, None]).mean(axis=1)
    return np.median(np.abs(coverage - levels[:, None]), axis=0)


def compute_levels(
    log_prob_truth: ArrayLike, log_prob_draws: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """Compute the level of the smallest highest-density region that holds each truth.

    The share of truths with a level below a is the expected coverage of the regions of level a.
    From Hermans et al., "A Trust Crisis In Simulation-Based Inference?", TMLR 2022.

    Args:
        log_prob_truth: (N,) log q(x | y) of the truth.
        log_prob_draws: (N, L) of the draws.
        rng: orders equal values.

    Returns:
        (N,) in (0, 1), uniform where the posterior is calibrated; close to 1 where the truth is
        less likely than nearly all draws.

    Raises:
        InnflowError: where the shapes do not match or a value is NaN.
    """
    exact, drawn = np.asarray(log_prob_truth, np.float64), np.asarray(log_prob_draws, np.float64)
    if exact.ndim != 1 or drawn.ndim != 2 or len(exact) != len(drawn) or not drawn.size:
        raise InnflowError(
            f"levels: want log-densities (N,) and (N, L), got {exact.shape} and {drawn.shape}"
        )
    _refuse_nan("levels", exact, drawn)
    # Draws more likely than the truth lie inside its region.
    return spread_ranks(_rank(-exact, -drawn, axis=1, rng=rng), drawn.shape[1], rng)


def compute_tarp(
    truth: ArrayLike, draws: ArrayLike, references: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """Compute the share of draws that are nearer to a reference point than the truth is.

    From Lemos et al., "Sampling-Based Accuracy Testing of Posterior Estimators for General
    Inference", ICML 2023. Distances are taken in standard deviations of the true parameters.
    Reference points may depend on the observation but not on its truth or its draws. Where they
    do not depend on it either, draws of the prior pass; see `draw_tarp_references`.

    Args:
        truth: (N, P).
        draws: (N, L, P).
        references: (N, P) one point each.
        rng: orders equal distances.

    Returns:
        (N,) in (0, 1), uniform where the posterior is calibrated.

    Raises:
        InnflowError: where the shapes do not match, a value is not finite or a parameter is
            constant.
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
    """Draw reference points that depend on the observation: a noisy linear regression of x on y.

    Each half of the observations is predicted by a ridge regression on the other half, whose
    residuals, drawn at random, are the noise: no point has seen its own truth. Such points lie on
    all sides, so a constant shift of the draws is left for the ranks to find.

    Args:
        truth: (N, P).
        y: (N, M).
        rng: halves the observations and draws the residuals.

    Returns:
        (N, P).

    Raises:
        InnflowError: where the rows differ, are fewer than four, or a value is not finite.
    """
    exact, data = np.asarray(truth, np.float64), np.asarray(y, np.float64)
    if exact.ndim != 2 or data.ndim != 2 or len(exact) != len(data) or len(exact) < 4:
        raise InnflowError(
            f"TARP: want truth (N, P) and y (N, M) of four rows or more, got {exact.shape} and "
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
    """Test that levels of `compute_levels` or `compute_tarp` (N,) are uniform."""
    result = kstest(np.asarray(levels, np.float64), "uniform")
    return LevelTest(float(result.statistic), float(result.pvalue))


def _rank(exact: np.ndarray, drawn: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Count the draws below the truth, and at random some of those equal to it."""
    truth = np.expand_dims(exact, axis)
    below, equal = (drawn < truth).sum(axis=axis), (drawn == truth).sum(axis=axis)
    return below + rng.integers(0, equal + 1)


def check_pairs(what: str, truth: ArrayLike, draws: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return truth (N, P) and draws (N, L, P) as float64, refusing other shapes and NaN."""
    exact, drawn = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    if exact.ndim != 2 or drawn.ndim != 3 or not drawn.size:
        raise InnflowError(
            f"{what}: want truth (N, P) and draws (N, L, P), got {exact.shape} and {drawn.shape}"
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
