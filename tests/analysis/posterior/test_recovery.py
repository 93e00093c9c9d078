"""The latent and the noise of posteriors that are exact, and of those that are not."""

import numpy as np
import pytest
import torch

from analysis.gaussian import NOISE, Gaussian, Problem, gaussian_study
from innflow.analysis import Recovery
from innflow.analysis.posterior.recovery import _spread
from innflow.errors import InnflowError

EPS = ("x", "eps")


def test_the_latent_of_an_exact_posterior_is_normal_and_independent_of_y():
    findings = Recovery()(gaussian_study())
    assert findings.metrics["latent/normal_p"] > 0.01
    assert findings.metrics["latent/independence_p"] > 0.01
    assert "recovery/eps_rms" not in findings.metrics


def test_a_latent_of_another_width_is_not_normal():
    metrics = Recovery()(gaussian_study(Gaussian(factor=0.7))).metrics
    assert metrics["latent/normal_p"] < 1e-4
    assert metrics["latent/independence_p"] > 0.01


def test_a_latent_that_depends_on_y_is_detected():
    metrics = Recovery()(gaussian_study(Gaussian(prior=True))).metrics
    assert metrics["latent/normal_p"] > 0.01
    assert metrics["latent/independence_p"] == pytest.approx(1 / 500)


def test_noise_of_exact_draws_is_that_of_their_parameters():
    findings = Recovery()(gaussian_study(Gaussian(left=EPS)))
    assert findings.metrics["recovery/eps_rms"] < 1e-4
    assert findings.metrics["recovery/eps_rms_floor"] == 0
    assert findings.metrics["recovery/eps_correlation"] > 0.9999
    assert findings.metrics["recovery/eps_normal_p"] > 0.01
    assert findings.figures.keys() == {"recovery"}


def test_noise_independent_of_the_parameters_is_detected():
    metrics = Recovery()(gaussian_study(Gaussian(left=EPS, wrong_noise=True))).metrics
    assert metrics["recovery/eps_rms"] == pytest.approx(2**0.5, rel=0.1)
    assert abs(metrics["recovery/eps_correlation"]) < 0.15


def test_noise_averaged_over_wrong_posteriors_is_not_normal():
    metrics = Recovery()(gaussian_study(Gaussian(left=EPS, prior=True))).metrics
    assert metrics["recovery/eps_normal_p"] < 1e-4


def test_the_width_of_y_limits_the_recovery_of_noise():
    metrics = Recovery()(gaussian_study(Gaussian(left=EPS, width=0.05))).metrics
    shift = 0.1 * np.random.default_rng(0).normal(size=(100_000, 2))  # 0.05 of a unit of two
    expected = np.sqrt(np.square(shift @ np.linalg.inv(NOISE).T).mean())
    assert metrics["recovery/eps_rms_floor"] == pytest.approx(expected, rel=0.02)


def test_whole_numbers_are_spread_over_their_bins():
    study = gaussian_study()
    study.data.support.discrete[1] = True
    x = torch.full((1000, 3), 4.0)
    spread = _spread(study, x)
    assert torch.equal(spread[:, ::2], x[:, ::2])
    assert -0.5 <= float((spread[:, 1] - 4).min()) < -0.45
    assert 0.45 < float((spread[:, 1] - 4).max()) < 0.5


def test_noise_beside_x_needs_noise_that_is_declared():
    study = gaussian_study(Gaussian(left=EPS), Problem(noise=False))
    with pytest.raises(InnflowError, match="draws noise, but the data have no declared noise"):
        Recovery().check(study)
