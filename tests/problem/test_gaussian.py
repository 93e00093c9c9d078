"""The analytic posterior of linear-Gaussian problems against dense conditioning and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import Matern

from innflow.errors import InnflowError
from innflow.problem.gaussian import LinearGaussian, matern32

POINTS = np.array([0.0, 0.7, 1.0, 2.5, 4.0, 4.2])
MODEL = LinearGaussian(
    mean=np.arange(6.0),
    covariance=matern32(POINTS, sd=0.8, length=1.5),
    matrix=np.random.default_rng(0).standard_normal((3, 6)),
)
Y = np.array([1.0, -2.0, 0.5])
NOISES = {
    "equal": 0.3 * np.eye(3),
    "correlated": np.array([[0.5, 0, 0], [-0.2, 0.1, 0], [0.3, 0.1, 0.4]]),
    "partial": np.diag([0.3, 0.0, 0.3]),
    "tiny": 1e-4 * np.eye(3),
}


def condition(model, y, covariance):
    """Condition the joint Gaussian of (x, y) on y, as in any textbook."""
    cross = model.covariance @ model.matrix.T
    gain = cross @ np.linalg.inv(model.matrix @ cross + covariance)
    return model.mean + gain @ (y - model.matrix @ model.mean), model.covariance - gain @ cross.T


def test_kernel():
    reference = 0.8**2 * Matern(length_scale=1.5, nu=1.5)(POINTS[:, None])
    np.testing.assert_allclose(matern32(POINTS, 0.8, 1.5), reference, rtol=1e-12)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_moments(noise):
    mean, covariance = MODEL.moments(Y, noise)
    expected_mean, expected_covariance = condition(MODEL, Y, noise @ noise.T)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-8)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-10)


def test_moments_without_noise():
    mean, covariance = MODEL.moments(Y, None)
    expected_mean, expected_covariance = condition(MODEL, Y, np.zeros((3, 3)))
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-8)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-10)
    values = np.linalg.eigvalsh(covariance)
    assert (values > 1e-10).sum() == 3
    assert values.min() > -1e-15


@pytest.mark.parametrize("noise", [*NOISES.values(), None], ids=[*NOISES, "none"])
def test_draws_have_the_moments(noise):
    n = 200_000
    x = MODEL.draw(Y, n, np.random.default_rng(1), noise)
    mean, covariance = MODEL.moments(Y, noise)
    sd = np.sqrt(np.diag(covariance))
    assert x.shape == (n, 6)
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 5 * sd / np.sqrt(n))
    error = np.abs(np.cov(x.T) - covariance) / np.outer(sd, sd)
    assert error.max() < 5 * np.sqrt(2 / n)


def test_draws_without_noise_give_the_data():
    x = MODEL.draw(Y, 100, np.random.default_rng(1), None)
    np.testing.assert_allclose(x @ MODEL.matrix.T, np.tile(Y, (100, 1)), atol=1e-12)


def test_rows_that_repeat():
    twice = LinearGaussian(MODEL.mean, MODEL.covariance, MODEL.matrix[[0, 1, 2, 0]])
    y = Y[[0, 1, 2, 0]]
    for given, once in zip(twice.moments(y, None), MODEL.moments(Y, None), strict=True):
        np.testing.assert_allclose(given, once, atol=1e-10)
    with pytest.raises(InnflowError, match="standard deviation of their noise"):
        twice.moments([*y[:3], 9.0], None)


def test_prior():
    x = np.random.default_rng(2).standard_normal((5, 6))
    reference = multivariate_normal(MODEL.mean, MODEL.covariance).logpdf(x)
    prior = MODEL.prior()
    assert prior.sample().dtype == torch.float32
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(x).float()), reference, rtol=1e-4)


@pytest.mark.parametrize("noise", ["equal", "correlated"])
def test_a_missing_value_is_a_row_less(noise):
    y, known = Y.copy(), np.array([True, False, True])
    y[1] = np.nan
    factor = NOISES[noise]
    mean, covariance = MODEL.moments(y, factor)
    fewer = LinearGaussian(MODEL.mean, MODEL.covariance, MODEL.matrix[known])
    noise_covariance = (factor @ factor.T)[known][:, known]
    expected = condition(fewer, Y[known], noise_covariance)
    np.testing.assert_allclose(mean, expected[0], atol=1e-8)
    np.testing.assert_allclose(covariance, expected[1], atol=1e-8)
    nothing = MODEL.moments(np.full(3, np.nan), factor)
    np.testing.assert_allclose(nothing[0], MODEL.mean)
    np.testing.assert_allclose(nothing[1], MODEL.covariance, atol=1e-10)
