import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from innflow.problem import ballistics
from problem.laws import distances, rank_p_values, weighted_prior


def impact(place, height, angle, speed, g=9.81, k=0.25, m=0.2):
    """Return where the ball comes down, by the formulas of the source."""
    along, up = speed * math.cos(angle), speed * math.sin(angle)

    def above(t):
        fall = (g * m + up * k) * math.expm1(-k * t / m) + g * t * k
        return max(height, 0) - m / k**2 * fall

    apex = m / k * math.log1p(up * k / (g * m))
    t = brentq(above, apex, 100, xtol=1e-14, rtol=1e-14)
    return place - along * m / k * math.expm1(-k * t / m)


def test_impact_is_that_of_a_scalar_root_finder():
    x = ballistics.prior.sample((300,)).double()
    x[:3, 1] = torch.tensor([0.0, -0.4, 0.01])
    x[3:6, 1], x[3:6, 3] = 0, torch.tensor([0.02, 0.5, 2.0])
    exact = [impact(*row) for row in x.tolist()]
    assert np.abs(ballistics.forward(x)[:, 0].numpy() - exact).max() < 1e-9


def test_a_ball_without_speed_falls_where_it_is():
    x = torch.tensor([[0.3, 1.5, 0.7, 0.0], [-0.2, 0.0, 0.7, 0.0]])
    assert ballistics.forward(x)[:, 0].tolist() == pytest.approx([0.3, -0.2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prior_predictive_has_the_known_quantiles(dtype):
    """They are known for whole speeds."""
    x = ballistics.prior.sample((200_000,)).to(dtype)
    x[:, 3] = torch.poisson(torch.full((200_000,), 15.0))
    y = ballistics.forward(x)
    assert y.dtype == dtype
    assert y.shape == (200_000, 1)
    assert y.mean() == pytest.approx(6.78, abs=0.03)
    assert y.std() == pytest.approx(3.12, abs=0.03)
    assert np.quantile(y, [0.01, 0.99]) == pytest.approx([1.2, 14.7], abs=0.1)


@pytest.mark.parametrize("y", [0.5, 5.0, 13.0])
def test_draws_lead_back_to_the_data(y):
    draws = ballistics.posterior(np.array([y]), 1000, np.random.default_rng(0), None)
    assert np.abs(ballistics.forward(torch.from_numpy(draws)).numpy() - y).max() < 1e-9
    assert len(np.unique(draws, axis=0)) > 990
    low, high = math.radians(9), math.radians(81)
    assert ((draws[:, 2] > low) & (draws[:, 2] < high)).all()


@pytest.mark.extended
def test_true_parameters_rank_evenly_among_the_draws():
    assert rank_p_values(ballistics).min() > 0.002


@pytest.mark.parametrize("y", [3.0, 9.0])
def test_draws_under_noise_equal_weighted_draws_of_the_prior(y):
    noise = np.array([[0.3]])
    draws = ballistics.posterior(np.array([y]), 10_000, np.random.default_rng(0), noise)
    known = weighted_prior(ballistics, np.array([y]), noise, 200_000)
    assert distances(draws, *known).max() < 4


def test_an_impossible_impact_is_refused(refused, monkeypatch):
    real = ballistics.resample
    monkeypatch.setattr(ballistics, "resample", lambda *given: real(*given, limit=2**17))
    with refused("posterior", "more likely y"):
        ballistics.posterior(np.array([300.0]), 10, np.random.default_rng(0), None)
