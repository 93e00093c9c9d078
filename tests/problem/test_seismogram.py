"""The convolution model: single echoes, coloured noise, and what a trace cannot show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from innflow.problem import seismogram


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns(dtype):
    x = seismogram.prior.sample((5,)).to(dtype)
    assert seismogram.prior.event_shape == (len(seismogram.PARAMETERS),) == (64,)
    assert seismogram.forward(x).shape == (5, len(seismogram.OBSERVABLES)) == (5, 64)
    assert seismogram.forward(x).dtype == dtype
    torch.testing.assert_close(
        seismogram.forward(x).double(), seismogram.forward(x.double()), atol=1e-6, rtol=0
    )


def test_trace_is_a_convolution():
    """On a grid twice as fine, reflections lie on odd samples and the trace on even ones."""
    profile = np.random.default_rng(0).normal(15, 0.1, 64)
    reflectivity = np.zeros(127)
    reflectivity[1::2] = np.diff(profile) / 2
    argument = (np.pi * 25 * 0.002 * np.arange(-126, 127)) ** 2
    trace = np.convolve(reflectivity, (1 - 2 * argument) * np.exp(-argument))[126:-126:2]
    computed = seismogram.forward(torch.from_numpy(profile)[None])[0]
    np.testing.assert_allclose(computed, trace, atol=1e-12)


def test_a_small_step_echoes_as_its_reflection_coefficient():
    """(Z2 - Z1) / (Z2 + Z1) is half the step of ln Z but for terms of third order."""
    above, below = 5.0e6, 5.2e6
    profile = np.log(np.r_[np.full(32, above), np.full(32, below)])
    trace = seismogram.forward(torch.from_numpy(profile)[None])[0].numpy()
    expected = (below - above) / (below + above) * seismogram.ricker(np.array([0.002, 0.002]))
    np.testing.assert_allclose(trace[31:33], expected, rtol=1e-3)
    assert np.abs(trace[[0, -1]]).max() < 1e-6


def test_noise_is_autoregressive():
    rng = np.random.default_rng(0)
    eps = rng.standard_normal((64, 1000))
    noise = seismogram.NOISE @ eps
    innovation = noise[1:] - 0.6 * noise[:-1]
    np.testing.assert_allclose(innovation, 0.01 * 0.8 * eps[1:], atol=1e-12)
    np.testing.assert_allclose((seismogram.NOISE**2).sum(axis=1), 0.01**2, rtol=1e-10)
    np.testing.assert_array_equal(seismogram.NOISE, np.tril(seismogram.NOISE))


def test_posterior():
    rng = np.random.default_rng(0)
    truth = seismogram.prior.sample((1,)).double()
    y = seismogram.forward(truth)[0].numpy() + seismogram.NOISE @ rng.standard_normal(64)
    x = seismogram.posterior(y, 50_000, rng, seismogram.NOISE)
    prior = seismogram.MODEL.covariance
    columns = seismogram.forward(torch.eye(64, dtype=torch.float64)).numpy().T
    precision = np.linalg.inv(prior)
    precision += columns.T @ np.linalg.solve(seismogram.NOISE @ seismogram.NOISE.T, columns)
    covariance = np.linalg.inv(precision)
    residual = np.linalg.solve(
        seismogram.NOISE @ seismogram.NOISE.T, y - columns @ seismogram.MODEL.mean
    )
    mean = seismogram.MODEL.mean + covariance @ columns.T @ residual
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 0.025 * sd)
    np.testing.assert_array_less(
        np.abs(np.cov(x.T) - covariance) / np.outer(sd, sd), 0.03 * np.ones((64, 64))
    )


def test_a_trace_tells_steps_and_not_the_mean():
    _, covariance = seismogram.MODEL.moments(np.zeros(64), seismogram.NOISE)
    prior, even = seismogram.MODEL.covariance, np.full(64, 1 / 64)
    assert even @ covariance @ even > 0.8 * (even @ prior @ even)
    ripple = np.cos(2 * np.pi * 20 * 0.004 * np.arange(64))
    assert ripple @ covariance @ ripple < 0.05 * (ripple @ prior @ ripple)


def test_trace_without_noise_in_single_precision():
    truth = seismogram.prior.sample((1,))
    y = seismogram.forward(truth)
    x = seismogram.posterior(y[0].numpy(), 20, np.random.default_rng(0), None)
    assert (seismogram.forward(torch.from_numpy(x)) - y.double()).abs().max() < 1e-5
    assert x.std(axis=0).min() > 0.01, "the mean stays unknown"
