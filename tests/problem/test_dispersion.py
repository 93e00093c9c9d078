"""Rayleigh dispersion: the half-space, its limits, and draws against weighted prior draws."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from innflow.errors import InnflowError
from innflow.problem import dispersion
from problem.laws import weighted_prior


def rayleigh_speed(ratio):
    """Return c / Vs of a half-space whose P velocity is `ratio` times its shear velocity."""

    def determinant(c):
        return (2 - c**2) ** 2 - 4 * np.sqrt((1 - (c / ratio) ** 2) * (1 - c**2))

    return brentq(determinant, 0.5, 0.999)


def test_half_space():
    """A homogeneous earth has no dispersion."""
    shear = torch.tensor([[3.2], [3.9]], dtype=torch.float64).expand(2, 8)
    expected = (rayleigh_speed(1.73) * shear[:, :1]).expand(2, 12)
    np.testing.assert_allclose(dispersion.forward(shear), expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns(dtype):
    torch.manual_seed(0)
    x = dispersion.prior.sample((50,)).to(dtype)
    y = dispersion.forward(x)
    assert dispersion.prior.event_shape == (len(dispersion.PARAMETERS),) == (8,)
    assert y.shape == (50, len(dispersion.OBSERVABLES)) == (50, 12)
    assert y.dtype == dtype
    assert y.isfinite().all()
    spread = y.std(dim=0)
    assert 0.13 < spread.min() < 0.2
    assert 0.22 < spread.max() < 0.33


def test_long_waves_feel_the_depth():
    shear = torch.tensor([[2.2, 2.5, 2.9, 3.2, 3.4, 3.6, 3.8, 4.3]], dtype=torch.float64)
    shallow, deep = shear.clone(), shear.clone()
    shallow[0, 0] += 0.2
    deep[0, -1] += 0.2
    change = dispersion.forward(torch.cat([shallow, deep])) - dispersion.forward(shear)
    assert (change > -1e-4).all()
    assert change[0, 0] > 5 * change[0, -1]
    assert change[1, -1] > 5 * change[1, 0]


def test_no_mode_is_nan():
    """Over a half-space slower than most of the layers, far outside the prior, disba gives up."""
    shear = torch.tensor([[3.5, 6.0, 2.4, 5.9, 4.2, 6.2, 6.3, 2.1], [3.5] * 8])
    y = dispersion.forward(shear)
    assert y[0].isnan().all()
    assert y[1].isfinite().all()


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "disba", None)
    with pytest.raises(InnflowError, match=r"pip install 'innflow\[dispersion\]'"):
        dispersion.forward(dispersion.prior.sample((2,)))


def test_posterior_needs_noise():
    with pytest.raises(InnflowError, match="give a standard deviation above 0"):
        dispersion.posterior(np.full(12, 3.0), 10, np.random.default_rng(0), None)


def gap(drawn, x, weight):
    """Return how far the means, and the spreads, of draws and of a weighted sample are apart.

    Returns:
        (8,) difference of the means in standard deviations, (8,) ratio of the spreads less 1.
    """
    mean = weight @ x
    spread = np.sqrt(weight @ (x - mean) ** 2)
    return np.abs(drawn.mean(axis=0) - mean) / spread, np.abs(drawn.std(axis=0) / spread - 1)


def test_posterior_is_exact_where_the_polynomial_is_rough(monkeypatch):
    """A wavy forward model, quick to run, takes the place of disba: its weights must set right."""
    matrix = np.random.default_rng(0).uniform(0, 1, (8, 12))
    monkeypatch.setattr(
        dispersion, "_phase_velocity", lambda x: np.sin(x @ matrix) + 0.33 * np.sin(9 * x[:, [0]])
    )
    dispersion._coefficients.cache_clear()
    noise = np.tri(12) * 0.1 + 0.4 * np.eye(12)
    y = dispersion._phase_velocity(dispersion.prior.mean[None].numpy())[0] + 0.2
    drawn = dispersion.posterior(y, 1000, np.random.default_rng(1), noise)
    dispersion._coefficients.cache_clear()

    torch.manual_seed(0)
    x = dispersion.prior.sample((200_000,)).double().numpy()
    misfit = np.linalg.solve(noise, (dispersion._phase_velocity(x) - y).T)
    weight = np.exp(-(misfit**2).sum(axis=0) / 2)
    weight /= weight.sum()
    assert 1 / np.sum(weight**2) > 10_000
    shift, spread = gap(drawn, x, weight)
    assert shift.max() < 0.1
    assert spread.max() < 0.07


@pytest.mark.slow
def test_posterior_equals_weighted_draws_of_the_prior():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    noise = 0.1 * np.eye(12)
    y = dispersion.forward(dispersion.prior.mean[None].double())[0].numpy()
    y += noise @ rng.standard_normal(12)
    drawn = dispersion.posterior(y, 2000, rng, noise)
    assert dispersion.prior.support.check(torch.from_numpy(drawn)).all()
    assert len(np.unique(drawn[:, 0])) > 1900

    x, weight = weighted_prior(dispersion, y, noise, 15_000)
    effective = 1 / np.sum(weight**2)
    assert effective > 150
    shift, spread = gap(drawn, x, weight)
    assert shift.max() < 4 / np.sqrt(effective)
    assert spread.max() < 3 / np.sqrt(effective)
