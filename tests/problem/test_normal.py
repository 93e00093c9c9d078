"""The posterior of mean and variance against an integral over a grid, and its density."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from innflow.problem import normal


def test_the_prior_density_integrates_to_the_share_of_draws():
    torch.manual_seed(0)
    x = normal.prior.sample((50_000,))
    mean, variance = np.linspace(-12, 12, 481), np.linspace(0.01, 20, 2000)
    grid = torch.from_numpy(np.stack(np.meshgrid(mean, variance, indexing="ij"), axis=-1))
    density = normal.prior.log_prob(grid).exp()
    share = (density[:, :200].sum() * 0.05 * (variance[1] - variance[0])).item()
    assert share == pytest.approx(float((x[:, 1] < variance[200]).double().mean()), abs=0.01)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_posterior_has_the_moments_of_prior_times_likelihood(count):
    y = np.array([[1.0], [2.5], [0.3], [1.2]])[:count]
    mean, variance = np.linspace(-8, 8, 401), np.geomspace(0.05, 60, 800)
    grid = torch.from_numpy(np.stack(np.meshgrid(mean, variance, indexing="ij"), axis=-1))
    flat = grid.reshape(-1, 2)
    log_density = normal.prior.log_prob(flat)
    for one in y:
        log_density = log_density + normal.log_likelihood(torch.from_numpy(one), flat)
    weights = (log_density.exp() * flat[:, 1]).numpy()  # the grid is even in log variance
    expected = np.average(np.stack([flat[:, 0], flat[:, 1].log()]), axis=1, weights=weights)
    drawn = normal.posterior(y, 100_000, np.random.default_rng(0), None)
    found = [drawn[:, 0].mean(), np.log(drawn[:, 1]).mean()]
    np.testing.assert_allclose(found, expected, atol=0.02)
