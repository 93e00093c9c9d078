"""Travel times down a borehole: the ray integral, units, and the exact posterior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from innflow.problem import traveltime


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns(dtype):
    x = traveltime.prior.sample((5,)).to(dtype)
    assert traveltime.prior.event_shape == (len(traveltime.PARAMETERS),) == (16,)
    assert traveltime.forward(x).shape == (5, len(traveltime.OBSERVABLES)) == (5, 16)
    assert traveltime.forward(x).dtype == dtype


def test_times_add_up():
    slowness = np.random.default_rng(0).uniform(0.3, 0.6, 16)
    expected = np.cumsum(slowness) * 50
    np.testing.assert_allclose(
        traveltime.forward(torch.from_numpy(slowness)[None])[0], expected, rtol=1e-12
    )


def test_background_is_the_velocity_that_grows_with_depth():
    time = 1000 * quad(lambda z: 1 / (1800 + 0.9 * z), 0, 800)[0]  # ms
    mean = traveltime.forward(traveltime.prior.mean[None])[0, -1].item()
    assert abs(mean - time) < 0.1


def test_slowness_is_positive_and_varies_by_a_tenth():
    torch.manual_seed(0)
    x = traveltime.prior.sample((20_000,))
    assert (x > 0).all()
    np.testing.assert_allclose(x.std(dim=0) / x.mean(dim=0), 0.1, rtol=0.03)


def test_posterior():
    rng = np.random.default_rng(0)
    truth = traveltime.prior.sample((1,)).double()
    noise = traveltime.NOISE * np.eye(16)
    y = traveltime.forward(truth)[0].numpy() + noise @ rng.standard_normal(16)
    x = traveltime.posterior(y, 50_000, rng, noise)
    prior = traveltime.prior.covariance_matrix.double().numpy()
    # The information form of the posterior: precisions add up.
    matrix = 50 * np.tri(16)
    covariance = np.linalg.inv(np.linalg.inv(prior) + matrix.T @ matrix)
    start = traveltime.prior.mean.double().numpy()
    mean = start + covariance @ matrix.T @ (y - matrix @ start)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 0.025 * sd)
    np.testing.assert_array_less(
        np.abs(np.cov(x.T) - covariance) / np.outer(sd, sd), 0.03 * np.ones((16, 16))
    )


def test_times_without_noise_give_the_slowness():
    truth = traveltime.prior.sample((1,)).double()
    y = traveltime.forward(truth)[0].numpy()
    x = traveltime.posterior(y, 3, np.random.default_rng(0), None)
    np.testing.assert_allclose(x, truth.numpy().repeat(3, axis=0), rtol=1e-9)
