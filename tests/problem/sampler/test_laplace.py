"""Laplace importance sampling where everything is known: a linear problem, a Student-t."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from innflow.errors import InnflowError
from innflow.problem.sampler.importance import resample
from innflow.problem.sampler.laplace import DEGREES, find_laplace, make_misfit, weigh

MATRIX = np.random.default_rng(0).standard_normal((3, 5))
NOISE = np.array([[0.5, 0, 0], [-0.2, 0.3, 0], [0.3, 0.1, 0.4]])
Y = np.array([1.0, -2.0, 0.5])
PRECISION = np.eye(5) + MATRIX.T @ np.linalg.inv(NOISE @ NOISE.T) @ MATRIX
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ MATRIX.T @ np.linalg.inv(NOISE @ NOISE.T) @ Y


def test_student_t():
    misfit = make_misfit(lambda w: w @ MATRIX.T, Y, NOISE)
    student, rng = find_laplace(misfit, 5), np.random.default_rng(0)
    reference = multivariate_t(student.loc, COVARIANCE, df=DEGREES)
    w, log_weight = weigh(misfit, student, 100_000, rng)
    target = -((w**2).sum(axis=1) + (misfit(w) ** 2).sum(axis=1)) / 2
    np.testing.assert_allclose(
        (target - log_weight)[:50], reference.logpdf(w[:50]), rtol=1e-10, atol=1e-7
    )
    np.testing.assert_allclose(w.mean(axis=0), MEAN, atol=0.02)
    np.testing.assert_allclose(np.cov(w.T), COVARIANCE * DEGREES / (DEGREES - 2), atol=0.03)


def test_linear_problem_is_exact():
    rng = np.random.default_rng(1)
    misfit = make_misfit(lambda w: w @ MATRIX.T, Y, NOISE)
    proposal = find_laplace(misfit, 5)
    np.testing.assert_allclose(proposal.loc, MEAN, atol=2e-3)
    np.testing.assert_allclose(proposal.shape, COVARIANCE, rtol=1e-8)
    w = resample(lambda count: weigh(misfit, proposal, count, rng), 20_000, rng)
    sd = np.sqrt(np.diag(COVARIANCE))
    np.testing.assert_array_less(np.abs(w.mean(axis=0) - MEAN), 0.04 * sd)
    np.testing.assert_array_less(np.abs(np.cov(w.T) - COVARIANCE) / np.outer(sd, sd), 0.05)


def test_mean_weight_is_the_evidence():
    """The mean weight gives p(y), here a Gaussian density up to the constants left out."""
    misfit = make_misfit(lambda w: w @ MATRIX.T, Y, NOISE)
    _, log_weight = weigh(misfit, find_laplace(misfit, 5), 50_000, np.random.default_rng(0))
    total = MATRIX @ MATRIX.T + NOISE @ NOISE.T
    expected = -Y @ np.linalg.solve(total, Y) / 2 - np.log(np.linalg.det(PRECISION)) / 2
    evidence = logsumexp(log_weight) - np.log(50_000) - 2.5 * np.log(2 * np.pi)
    assert abs(evidence - expected) < 0.02


def test_mode_of_a_bent_problem():
    misfit = make_misfit(lambda w: np.exp(w[:, :1]) * (1 + w[:, 1:] ** 2), np.array([9.0]), [[0.1]])
    mode = find_laplace(misfit, 2).loc

    def target(w):
        return (w**2).sum(axis=1) + (misfit(w) ** 2).sum(axis=1)

    ring = mode + 0.01 * np.stack([np.cos(t := np.linspace(0, 6, 40)), np.sin(t)], axis=1)
    assert target(mode[None])[0] < target(ring).min()


@pytest.mark.parametrize("noise", [None, np.diag([0.1, 0.0, 0.1])], ids=["none", "partial"])
def test_noise_is_needed(noise):
    with pytest.raises(InnflowError, match="give a standard deviation above 0"):
        make_misfit(lambda w: w @ MATRIX.T, Y, noise)
