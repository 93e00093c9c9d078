import numpy as np
import pytest
import torch
from joblib import parallel_config
from scipy.integrate import quad
from scipy.spatial.distance import pdist
from scipy.stats import norm

from innflow.errors import InnflowError
from innflow.metric import compute_c2st, compute_err_post, compute_moments
from innflow.problem import gravity_linear, traveltime


def gaussian(seed, n, columns=2, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, columns)) + np.eye(columns)[0] * shift


def plain(x, y, kernels=((0.5, 1), (0.2, 1), (0.2, 0.5))):
    """The definition, written as loops over pairs."""

    def mean(a, b):
        total = 0.0
        for p in a:
            for q in b:
                square = float(((p - q) ** 2).sum())
                total += sum((power * c / (c + square)) ** power for c, power in kernels)
        return total / (len(a) * len(b))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_err_post_equals_its_definition():
    x, y = gaussian(0, 40, 3), gaussian(1, 30, 3, 0.7)
    assert compute_err_post(x, y) == pytest.approx(plain(x, y), abs=1e-12)


def test_blocks_do_not_change_err_post(monkeypatch):
    x, y = gaussian(0, 40), gaussian(1, 30)
    whole = compute_err_post(x, y)
    monkeypatch.setattr("innflow.metric.divergence.ROWS", 7)
    assert compute_err_post(x, y) == pytest.approx(whole, abs=1e-12)


def test_err_post_of_two_gaussians_is_the_integral():
    """In one dimension a difference of two draws is N(m, 2): three integrals."""
    width, shift = 0.5, 1.0

    def mean(centre):
        return quad(lambda d: width / (width + d * d) * norm.pdf(d, centre, 2**0.5), -20, 20)[0]

    # Quantiles in place of draws: the sums over pairs are then quadratures.
    draws = norm.ppf((np.arange(1000) + 0.5) / 1000)[:, None]
    exact = 2 * mean(0) - 2 * mean(shift)
    found = compute_err_post(draws + shift, draws, kernels=[(width, 1)])
    assert found == pytest.approx(exact, rel=0.01)


def test_err_post_of_the_same_draws_is_zero_and_of_exact_draws_near_its_floor():
    x, y = gaussian(0, 2000, 4) * 0.5, gaussian(1, 2000, 4) * 0.5
    assert compute_err_post(x, x) == pytest.approx(0, abs=1e-12)
    assert 0.0005 < compute_err_post(x, y) < 0.003
    assert compute_err_post(x * 1.3, y) > 0.01


def test_standardised_err_post_is_in_prior_units_and_median_distances():
    x, y, sd = gaussian(0, 40, 3), gaussian(1, 30, 3, 0.7), np.array([1.0, 3.0, 10.0])
    median = np.median(pdist(y / sd))
    assert compute_err_post(x, y, sd) == pytest.approx(plain(x / sd / median, y / sd / median))
    scale = np.array([1e3, 1e-3, 1.0])
    assert compute_err_post(x * scale, y * scale, sd * scale) == pytest.approx(
        compute_err_post(x, y, sd)
    )
    with pytest.raises(InnflowError, match="coincide"):
        compute_err_post(x, np.ones((5, 3)), sd)


@pytest.mark.parametrize("problem", [gravity_linear, traveltime])
def test_err_post_detects_draws_of_the_prior_and_a_point_mass(problem):
    """In raw units both score as little as exact draws, or less than a thousandth."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    prior = problem.prior.sample((1000,))
    noise = problem.NOISE * np.eye(len(problem.OBSERVABLES))
    y = problem.forward(prior[0]).numpy() + noise @ rng.normal(size=len(noise))
    reference, exact = (problem.posterior(y, 1000, rng, noise) for _ in range(2))
    sd = prior.std(dim=0).numpy()
    floor = compute_err_post(exact, reference, sd)
    assert floor < 0.006
    assert compute_err_post(prior.numpy(), reference, sd) > 100 * floor
    point = np.tile(reference.mean(axis=0), (1000, 1))
    assert compute_err_post(point, reference, sd) > 100 * floor


@pytest.mark.parametrize(("columns", "shift"), [(1, 1.0), (2, 2.0)])
def test_c2st_reaches_the_best_classifier_of_shifted_gaussians(columns, shift):
    accuracy = compute_c2st(gaussian(0, 300, columns, shift), gaussian(1, 300, columns))
    assert accuracy == pytest.approx(norm.cdf(shift / 2), abs=0.05)


def test_c2st_of_equal_distributions_is_a_half():
    assert compute_c2st(gaussian(0, 200), gaussian(1, 200)) == pytest.approx(0.5, abs=0.07)


def test_c2st_sees_what_a_linear_classifier_cannot():
    """Both have the same mean and the same marginals: only the sign of the correlation differs."""
    rng = np.random.default_rng(0)
    mixed, other = rng.normal(size=(2, 200, 2))
    mixed[:, 1] = 0.95 * mixed[:, 0] + 0.312 * mixed[:, 1]
    other[:, 1] = -0.95 * other[:, 0] + 0.312 * other[:, 1]
    assert compute_c2st(mixed, other) > 0.75


def test_c2st_is_free_of_units_and_repeats():
    x, y = gaussian(0, 30, shift=6.0), gaussian(1, 30)
    y[0] = 6.0, 0.0  # on the wrong side, so that the accuracy is not simply one
    first = compute_c2st(x, y, seed=3)
    assert 0.9 < first < 1
    assert first == compute_c2st(x, y, seed=3)
    scale = np.array([2.0**20, 2.0**-20])
    assert compute_c2st(x * scale, y * scale, seed=3) == first
    with parallel_config("threading"):
        assert compute_c2st(x, y, seed=3, jobs=2) == first


def test_c2st_refuses_what_would_mislead():
    x = gaussian(0, 20)
    with pytest.raises(InnflowError, match="20 draws against 19"):
        compute_c2st(x, x[1:])
    with pytest.raises(InnflowError, match="column 1 of the reference is constant"):
        compute_c2st(x, x * [1, 0])
    with pytest.raises(InnflowError, match="2 rows per side are too few for 5 folds"):
        compute_c2st(x[:2], x[:2])


@pytest.mark.parametrize("function", [compute_err_post, compute_c2st])
def test_draws_that_are_not_finite_or_do_not_match_are_refused(function):
    x = gaussian(0, 20)
    broken = x.copy()
    broken[3] = np.nan
    with pytest.raises(InnflowError, match="1 of 20 rows of draws are not finite"):
        function(broken, x)
    with pytest.raises(InnflowError, match="with the same P"):
        function(x, x[:, :1])


def test_moments_read_a_shift_and_a_scale_in_any_units():
    rng = np.random.default_rng(0)
    factor = np.array([[1.0, 0, 0], [300, 400, 0], [0, 1e-3, 2e-3]])
    mean, cov = np.array([1.0, -50, 0.1]), factor @ factor.T
    noise = rng.normal(size=(200_000, 3))
    draws = mean + noise @ factor.T
    exact = compute_moments(draws, mean, cov)
    assert exact.mean < 3 * exact.mean_floor
    assert exact.covariance < 3 * exact.covariance_floor
    shifted = compute_moments(draws + np.array([0, 50, 0]), mean, cov)  # 0.1 of the sd, 500
    assert shifted.mean == pytest.approx(0.1, abs=0.01)
    wide = compute_moments(mean + 1.1 * (draws - mean), mean, cov)
    assert wide.covariance == pytest.approx(0.21, abs=0.01)


def test_floors_of_moments_are_what_exact_draws_give():
    rng = np.random.default_rng(1)
    cov = np.eye(4) + 0.3
    draws = rng.multivariate_normal(np.zeros(4), cov, size=(400, 100))
    found = [compute_moments(sample, np.zeros(4), cov) for sample in draws]
    rms = np.sqrt(np.mean([moments.covariance**2 for moments in found]))
    assert rms == pytest.approx(found[0].covariance_floor, rel=0.08)
    assert np.median([moments.mean for moments in found]) == pytest.approx(
        found[0].mean_floor, rel=0.12
    )


def test_moments_refuse_a_covariance_that_is_none():
    with pytest.raises(InnflowError, match=r"must be \(2, 2\)"):
        compute_moments(gaussian(0, 9), np.zeros(2), np.eye(3))
    with pytest.raises(InnflowError, match="positive diagonal"):
        compute_moments(gaussian(0, 9), np.zeros(2), np.diag([1.0, 0.0]))
