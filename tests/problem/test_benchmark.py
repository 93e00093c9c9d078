import math

import numpy as np
import pytest
import torch
from scipy import stats

from innflow.problem import gaussian_linear, slcp, two_moons
from problem.laws import distances, rank_p_values

PROBLEMS = [gaussian_linear, slcp, two_moons]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_data_have_their_columns_and_the_precision_of_the_parameters(problem, dtype):
    y = problem.forward(problem.prior.sample((5,)).to(dtype))
    assert y.dtype == dtype
    assert y.shape == (5, len(problem.OBSERVABLES))
    assert problem.prior.event_shape == (len(problem.PARAMETERS),)
    assert not torch.equal(y, problem.forward(problem.prior.sample((5,)).to(dtype)))


@pytest.mark.representatives("innflow.problem.two_moons")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_true_parameters_rank_evenly_among_the_draws(problem):
    assert rank_p_values(problem).min() > 0.002


def test_likelihoods_are_those_of_scipy():
    x = gaussian_linear.prior.sample((4,))
    y = gaussian_linear.forward(x)[0]
    exact = [stats.norm(one, math.sqrt(0.1)).logpdf(y).sum() for one in x]
    assert gaussian_linear.log_likelihood(y, x).numpy() == pytest.approx(exact, rel=1e-5)
    x = slcp.prior.sample((4,))
    y = slcp.forward(x)[0]
    exact = log_likelihood(x.double().numpy(), y.double().numpy()) - 4 * math.log(2 * math.pi)
    assert slcp.log_likelihood(y, x).numpy() == pytest.approx(exact, rel=1e-9)


def test_the_likelihood_of_two_moons_is_the_density_of_its_data():
    x = torch.tensor([[0.3, -0.7]]).expand(400_000, 2)
    made = two_moons.forward(x)
    corner, sides = made.amin(dim=0), made.amax(dim=0) - made.amin(dim=0)
    anywhere = corner + sides * torch.rand(400_000, 2, generator=torch.Generator().manual_seed(0))
    density = two_moons.log_likelihood(anywhere, x).exp() * sides.prod()
    assert float(density.mean()) == pytest.approx(1, abs=0.02)
    # and has the same mean over the plane
    mean = (density[:, None] * anywhere).mean(dim=0)
    assert mean.numpy() == pytest.approx(made.mean(dim=0).numpy(), abs=0.02)


# Two moons


def test_data_of_two_moons_are_half_circles():
    x = two_moons.prior.sample((20_000,)).double()
    one, two = x.numpy().T
    y = two_moons.forward(x).numpy()
    u = y[:, 0] - 0.25 + np.abs(one + two) / np.sqrt(2)
    v = y[:, 1] - (two - one) / np.sqrt(2)
    assert stats.kstest(np.hypot(u, v), stats.norm(0.1, 0.01).cdf).pvalue > 0.001
    angle = np.arctan2(v, u)
    assert stats.kstest(angle, stats.uniform(-np.pi / 2, np.pi).cdf).pvalue > 0.001


@pytest.mark.parametrize(
    "y",
    [
        (0.0, 0.0),
        (-1.1, 0.1),  # two crescents cut by the corners of the prior
        (-0.5, -0.6),
        (0.28, 0.0),  # so close that the crescents meet
    ],
)
def test_draws_of_two_moons_follow_the_density(y):
    edges = np.linspace(-1, 1, 2001)
    one, two = np.meshgrid(*2 * [(edges[1:] + edges[:-1]) / 2], indexing="ij")
    u = y[0] - 0.25 + np.abs(one + two) / np.sqrt(2)
    v = y[1] - (two - one) / np.sqrt(2)
    radius = np.hypot(u, v)
    density = np.where(u > 0, np.exp(-0.5 * ((radius - 0.1) / 0.01) ** 2) / radius, 0)
    density /= density.sum()
    draws = two_moons.posterior(np.array(y), 10_000, np.random.default_rng(0), None)
    assert (np.abs(draws) < 1).all()
    # Per block of the square, the draws are a multinomial of the density's mass.
    count = np.histogram2d(*draws.T, bins=edges[::50])[0].ravel()
    mass = density.reshape(40, 50, 40, 50).sum(axis=(1, 3)).ravel()
    assert count[mass < 1e-9].sum() == 0
    dense = mass > 1e-3
    expected = np.append(mass[dense], 1 - mass[dense].sum()) * 10_000
    found = np.append(count[dense], 10_000 - count[dense].sum())
    chi = ((found - expected) ** 2 / np.maximum(expected, 1)).sum()
    assert chi < stats.chi2(dense.sum()).isf(0.001)


# Gaussian linear


@pytest.mark.parametrize("scale", [None, 0.5])
def test_draws_of_gaussian_linear_have_the_moments_of_conditioning(scale):
    noise = None if scale is None else scale * np.tril(np.ones((10, 10)))
    y = np.linspace(-0.5, 0.7, 10)
    draws = gaussian_linear.posterior(y, 50_000, np.random.default_rng(0), noise)
    # Precisions add.
    data = 0.1 * np.eye(10) + (0 if noise is None else noise @ noise.T)
    covariance = np.linalg.inv(np.linalg.inv(data) + 10 * np.eye(10))
    mean = covariance @ np.linalg.solve(data, y)
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.006)
    assert np.abs(np.cov(draws.T) - covariance).max() < 0.003
    if noise is None:
        assert mean == pytest.approx(y / 2)
        assert np.diag(covariance) == pytest.approx(0.05)


def test_spreads_of_gaussian_linear_are_variances():
    x = gaussian_linear.prior.sample((20_000,))
    y = gaussian_linear.forward(x)
    assert x.var(dim=0).mean() == pytest.approx(0.1, rel=0.02)
    assert (y - x).var(dim=0).mean() == pytest.approx(0.1, rel=0.02)


# SLCP


def log_likelihood(x, y):
    """Return the log density of four points y (8,) under parameters x (N, 5)."""
    first, second, rho = x[:, 2] ** 2, x[:, 3] ** 2, np.tanh(x[:, 4])
    u = (y[0::2] - x[:, :1]) / first[:, None]
    v = (y[1::2] - x[:, 1:2]) / second[:, None]
    quadratic = (u**2 - 2 * rho[:, None] * u * v + v**2).sum(axis=1) / (1 - rho**2)
    return -0.5 * quadratic - 4 * np.log(first * second) - 2 * np.log1p(-(rho**2))


def test_points_of_slcp_have_the_declared_covariance():
    x = torch.tensor([[0.7, -2.9, -1.1, 1.4, 0.8]], dtype=torch.float64).expand(50_000, 5)
    points = slcp.forward(x).numpy().reshape(-1, 2)
    first, second, rho = 1.21, 1.96, np.tanh(0.8)
    cross = rho * first * second
    assert points.mean(axis=0) == pytest.approx([0.7, -2.9], abs=0.02)
    exact = np.array([[first**2, cross], [cross, second**2]])
    assert np.abs(np.cov(points.T) - exact).max() < 0.04
    # The four are independent.
    rows = slcp.forward(x).numpy()[:, 0::2]
    assert np.abs(np.corrcoef(rows.T) - np.eye(4)).max() < 0.02


@pytest.mark.parametrize(
    "x",
    [
        [0.7, -1.5, 2.0, -1.8, 0.3],
        [2.9, -2.9, 2.6, 2.8, -0.5],  # the prior's box cuts means and variances
        [-1.0, 0.5, -1.6, 2.2, -1.6],  # and here the correlation
    ],
)
def test_draws_of_slcp_equal_weighted_draws_of_the_prior(x):
    y = slcp.forward(torch.tensor([x], dtype=torch.float64))[0].numpy()
    draws = slcp.posterior(y, 10_000, np.random.default_rng(0), None)
    assert len(np.unique(draws, axis=0)) > 9_900
    assert (np.abs(draws) < 3).all()
    known = np.random.default_rng(1).uniform(-3, 3, (600_000, 5))
    log = log_likelihood(known, y)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 500
    assert distances(draws, known, weight).max() < 4


def test_slcp_has_four_equal_modes():
    y = slcp.forward(torch.tensor([[0.5, 0.5, 1.0, -1.0, 1.0]]))[0].numpy()
    draws = slcp.posterior(y, 8_000, np.random.default_rng(0), None)
    quadrant = 2 * (draws[:, 2] > 0) + (draws[:, 3] > 0)
    assert np.bincount(quadrant) == pytest.approx(2000, abs=4 * math.sqrt(8000 * 3 / 16))


def test_slcp_is_at_ease_where_the_points_are_close_and_all_but_on_a_line():
    x = torch.tensor([[-2.5, 2.5, 0.03, -0.05, 2.9]], dtype=torch.float64)
    y = slcp.forward(x)[0].numpy()
    draws = slcp.posterior(y, 1000, np.random.default_rng(0), None)
    assert np.abs(draws[:, 2:4]).mean(axis=0) == pytest.approx([0.03, 0.05], rel=0.6)


def test_slcp_refuses_what_it_cannot_honour(refused):
    rng = np.random.default_rng(0)
    with refused("slcp", "noise"):
        slcp.posterior(np.arange(8.0) ** 2, 10, rng, 0.1 * np.eye(8))
    with refused("slcp", "on one line"):
        slcp.posterior(np.zeros(8), 10, rng, None)
