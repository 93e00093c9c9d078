import numpy as np
import pytest
from scipy.stats import kstest, norm

from innflow.errors import InnflowError
from innflow.metric import (
    check_levels,
    check_ranks,
    compute_band,
    compute_calibration_error,
    compute_levels,
    compute_ranks,
    compute_tarp,
    draw_tarp_references,
    spread_ranks,
)

N, L = 400, 200


def conjugate(seed=0, width=1.0, shift=0.0, n=N, draws=L):
    """x ~ N(0, I), y = x + N(0, I): the posterior is N(y / 2, 1 / 2); made wider or shifted."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 2))
    y = truth + rng.normal(size=(n, 2))
    mean, sd = y / 2 + shift, width * 0.5**0.5
    sample = mean[:, None] + sd * rng.normal(size=(n, draws, 2))

    def log_prob(x):
        return norm.logpdf(x, mean if x.ndim == 2 else mean[:, None], sd).sum(axis=-1)

    return truth, y, sample, log_prob


def prior(seed=0):
    truth, y, _, _ = conjugate(seed)
    return truth, y, np.random.default_rng(seed + 1).normal(size=(N, L, 2))


def test_ranks_count_the_draws_below():
    draws = np.array([[[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]])
    ranks = compute_ranks([[2.5, 4.0]], draws, np.random.default_rng(0))
    assert ranks.tolist() == [[2, 0]]


def test_ties_are_ordered_at_random():
    """All equal: nothing else is uniform, and a discrete parameter must not look miscalibrated."""
    rng = np.random.default_rng(0)
    ranks = compute_ranks(np.zeros((2000, 1)), np.zeros((2000, 9, 1)), rng)
    assert np.bincount(ranks[:, 0], minlength=10) == pytest.approx(np.full(10, 200), abs=60)
    truth, sample = rng.poisson(2, size=(N, 1)), rng.poisson(2, size=(N, L, 1))
    assert check_ranks(compute_ranks(truth, sample, rng), L, rng).p_value > 0.01


def test_ranks_of_the_exact_posterior_are_uniform():
    rng = np.random.default_rng(0)
    truth, _, draws, _ = conjugate()
    test = check_ranks(compute_ranks(truth, draws, rng), L, rng)
    assert test.p_values.shape == (2,)
    assert test.p_value > 0.05


@pytest.mark.parametrize("change", [{"width": 0.7}, {"width": 1.5}, {"shift": 0.2}])
def test_ranks_of_a_wrong_posterior_are_not(change):
    rng = np.random.default_rng(0)
    truth, _, draws, _ = conjugate(**change)
    assert check_ranks(compute_ranks(truth, draws, rng), L, rng).p_value < 0.01


def test_rank_test_of_few_draws_has_its_level():
    """Nine draws give ten ranks, which a test for continuous values would reject by themselves."""
    rng = np.random.default_rng(0)
    p = [check_ranks(rng.integers(0, 10, size=(300, 1)), 9, rng).p_value for _ in range(200)]
    assert kstest(p, "uniform").pvalue > 0.01


def test_holm_correction_allows_for_many_parameters():
    rng = np.random.default_rng(0)
    rejected = sum(
        check_ranks(rng.integers(0, 100, size=(100, 20)), 99, rng).p_value < 0.05 for _ in range(40)
    )
    assert rejected <= 7  # 2 and three standard deviations; 26 without the correction


@pytest.mark.parametrize("n", [30, 300])
def test_band_contains_whole_curves_at_its_level(n):
    rng = np.random.default_rng(1)
    points, low, high = compute_band(n, rng, 0.9)
    inside = 0
    for _ in range(2000):
        curve = np.searchsorted(np.sort(rng.uniform(size=n)), points, side="right") / n
        inside += bool(((curve >= low - 1e-9) & (curve <= high + 1e-9)).all())
    assert inside / 2000 == pytest.approx(0.9, abs=0.03)


def test_calibration_error_of_a_posterior_too_narrow():
    rng = np.random.default_rng(0)
    errors = {}
    for width in (1.0, 0.5):
        truth, _, draws, _ = conjugate(width=width, n=4000)
        errors[width] = compute_calibration_error(compute_ranks(truth, draws, rng), L)
    assert (errors[1.0] < 0.02).all()
    # An interval of level q of half the width covers 2 Phi(z_q / 2) - 1.
    levels = (np.arange(100) + 0.5) / 100
    exact = np.median(levels - (2 * norm.cdf(norm.ppf((1 + levels) / 2) / 2) - 1))
    assert errors[0.5] == pytest.approx(exact, abs=0.02)


def test_levels_of_gaussians_are_those_of_their_ellipses():
    """The region of a 2-D Gaussian that reaches a point at radius r holds 1 - exp(-r^2 / 2)."""
    truth, y, draws, log_prob = conjugate(n=300, draws=4000)
    levels = compute_levels(log_prob(truth), log_prob(draws), np.random.default_rng(0))
    radius = ((truth - y / 2) ** 2).sum(axis=1) / 0.5
    assert levels == pytest.approx(1 - np.exp(-radius / 2), abs=0.035)


@pytest.mark.parametrize("kind", ["levels", "tarp"])
def test_expected_coverage_and_tarp_tell_exact_from_wrong(kind):
    rng = np.random.default_rng(0)
    found = {}
    for name, change in {"exact": {}, "narrow": {"width": 0.6}, "wide": {"width": 1.7}}.items():
        truth, y, draws, log_prob = conjugate(seed=4, **change)
        found[name] = (
            compute_levels(log_prob(truth), log_prob(draws), rng)
            if kind == "levels"
            else compute_tarp(truth, draws, draw_tarp_references(truth, y, rng), rng)
        )
    exact = check_levels(found["exact"])
    assert exact.p_value > 0.05
    assert exact.gap < 0.07
    for name in ("narrow", "wide"):
        wrong = check_levels(found[name])
        assert wrong.p_value < 0.001
        assert wrong.gap > exact.gap
    if kind == "levels":
        # Too narrow: regions hold the truth less often than they say.
        assert found["narrow"].mean() > 0.6
        assert found["wide"].mean() < 0.4


def test_shifted_posterior_fails_tarp_with_points_on_one_side():
    truth, _, draws, _ = conjugate(shift=0.3)
    points = np.random.default_rng(9).normal((2, 0), size=truth.shape)
    levels = compute_tarp(truth, draws, points, np.random.default_rng(1))
    assert check_levels(levels).p_value < 0.001


def test_draws_of_the_prior_fail_tarp_only_where_points_depend_on_the_observation():
    truth, y, draws = prior()
    rng = np.random.default_rng(9)
    blind = rng.normal(size=truth.shape)
    assert check_levels(compute_tarp(truth, draws, blind, rng)).p_value > 0.05
    points = draw_tarp_references(truth, y, rng)
    assert check_levels(compute_tarp(truth, draws, points, rng)).p_value < 1e-4


def test_tarp_has_its_level_with_few_observations_and_many_data():
    """Points that had seen their own truth would be nearer to it than draws are."""
    rng = np.random.default_rng(0)
    levels = []
    for seed in range(40):
        truth, y, draws, _ = conjugate(seed, n=30, draws=50)
        data = np.c_[y, rng.normal(size=(30, 20))]
        levels.append(compute_tarp(truth, draws, draw_tarp_references(truth, data, rng), rng))
    assert check_levels(np.concatenate(levels)).p_value > 0.01


def test_levels_lie_inside_the_unit_interval():
    rng = np.random.default_rng(0)
    for levels in (
        compute_levels(np.zeros(50), np.zeros((50, 3)), rng),
        spread_ranks(np.array([0, 3]), 3, rng),
    ):
        assert ((levels > 0) & (levels < 1)).all()


def test_bad_input_is_refused():
    rng = np.random.default_rng(0)
    truth, y, draws, _ = conjugate(n=10, draws=5)
    with pytest.raises(InnflowError, match="does not match draws"):
        compute_ranks(truth[:9], draws, rng)
    with pytest.raises(InnflowError, match=r"expected truth \(N, P\), draws \(N, L, P\)"):
        compute_ranks(truth, draws[:, 0], rng)
    broken = draws.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(InnflowError, match="1 values are NaN"):
        compute_ranks(truth, broken, rng)
    with pytest.raises(InnflowError, match="parameter 1 is the same in every truth"):
        compute_tarp(truth * [1, 0], draws, truth, rng)
    with pytest.raises(InnflowError, match="references are"):
        compute_tarp(truth, draws, truth[:3], rng)
    with pytest.raises(InnflowError, match="levels: expected"):
        compute_levels(np.zeros(3), np.zeros(3), rng)
    with pytest.raises(InnflowError, match="not finite"):
        draw_tarp_references(truth, np.where(y > 0, y, np.inf), rng)
