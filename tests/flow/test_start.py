"""Layers that are initialised at the linear-Gaussian solution."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from innflow.errors import InnflowError
from innflow.flow import Alignment, LinearForecast, Regression, vector

ROWS = 200_000


@pytest.fixture(scope="module")
def problem():
    """Return x (N, 3), y = G x + noise (N, 2), and the exact p(x | y) as (slope, mean, factor)."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    prior = root @ root.T + torch.eye(3)
    matrix = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    noise = torch.randn(ROWS, 2, generator=generator, dtype=torch.float64) * 0.5
    draws = torch.randn(ROWS, 3, generator=generator, dtype=torch.float64)
    x = mean + draws @ torch.linalg.cholesky(prior).T
    y = x @ matrix.T + noise
    gain = prior @ matrix.T @ torch.linalg.inv(matrix @ prior @ matrix.T + 0.25 * torch.eye(2))
    return x, y, noise, mean, gain, matrix, prior - gain @ matrix @ prior


def test_regression_starts_as_the_exact_posterior(problem):
    x, y, _, mean, gain, matrix, covariance = problem
    layer = Regression(3, 2).double()
    layer.initialise(x, y)
    given = y[:5]
    z, logabsdet = layer(x[:5], given)
    flow = -0.5 * z.square().sum(1) - 1.5 * math.log(2 * math.pi) + logabsdet
    centre = mean + (given - mean @ matrix.T) @ gain.T
    exact = MultivariateNormal(centre, covariance).log_prob(x[:5])
    # 200,000 rows estimate moments to about 0.3%.
    assert torch.allclose(flow, exact, atol=0.05)


def test_regression_keeps_a_constant_or_doubled_feature_invertible():
    x = torch.randn(100, 1).expand(-1, 3).clone()
    x[:, 2] = 7.0
    context = torch.randn(100, 1).expand(-1, 2)
    layer = Regression(3, 2)
    layer.initialise(x, context)
    z, _ = layer(x, context)
    assert z.isfinite().all()
    assert torch.allclose(layer.inverse(z, context)[0], x, atol=1e-3)


def test_alignment_starts_as_the_exact_map_of_a_linear_problem(problem):
    x, y, noise, *_ = problem
    layer = Alignment(5).double()
    layer.initialise(torch.cat((x, noise), dim=1), None, y)
    right, _ = layer(torch.cat((x, noise), dim=1))
    # y is a linear function of x and eps, so all of it is found; the ridge leaves one in 10^4.
    assert torch.allclose(right[:, :2], y, atol=5e-3)
    joint = torch.corrcoef(torch.cat((right[:, 2:], y), dim=1).T)
    assert torch.allclose(joint[:3, :3], torch.eye(3, dtype=torch.float64), atol=0.02)
    assert joint[:3, 3:].abs().max() < 0.02


def test_alignment_is_invertible_without_linear_dependence():
    x = torch.randn(5000, 4)
    y = x[:, :2].square()
    layer = Alignment(4)
    layer.initialise(x, None, y)
    right, logabsdet = layer(x)
    assert logabsdet.isfinite().all()
    assert torch.allclose(layer.inverse(right)[0], x, atol=1e-3)


def test_linear_forecast_starts_as_the_regression_of_the_targets(problem):
    x, y, noise, *_ = problem
    layer = LinearForecast(5, observed=2).double()
    layer.initialise(torch.cat((x, noise), dim=1), None, y)
    right, logabsdet = layer(torch.cat((x, noise), dim=1))
    assert torch.equal(right[:, :3], x)
    assert torch.allclose(right[:, 3:], y, atol=0.02)
    assert not logabsdet.any()


def test_without_targets_alignment_stays_the_identity():
    flow = vector(4, depth=1, hidden=[8], align=True)
    flow.initialise(torch.randn(50, 4))
    layer = next(module for module in flow.modules() if isinstance(module, Alignment))
    assert torch.equal(layer.weight, torch.eye(4))
    assert not layer.initialised


def test_first_layer_of_a_conditional_flow_is_a_regression():
    flow = vector(2, depth=1, hidden=[8], context=3)
    context = torch.randn(4000, 3)
    x = context[:, :2] * 3 + 1 + 0.1 * torch.randn(4000, 2)
    flow.initialise(x, context)
    z, _ = flow(x, context)
    assert torch.corrcoef(torch.cat((z, context), dim=1).T)[:2, 2:].abs().max() < 0.05
    with pytest.raises(InnflowError, match="features=0"):
        Regression(0, 3)
