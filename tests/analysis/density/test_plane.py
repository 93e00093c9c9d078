"""The analyses of a plane, on a linear Gaussian flow whose numbers are known."""

import math

import numpy as np
import pytest
import torch

from analysis.linear import Bare, image_study, plane_study
from innflow.analysis import Density2d, Exact, Likelihood
from innflow.analysis.density.density2d import bounds, cell, grid
from innflow.errors import InnflowError


@pytest.fixture(scope="module")
def study():
    return plane_study()


def test_density_integrates_to_one_and_samples_match(study):
    findings = Density2d(samples=1000, resolution=200)(study)
    assert findings.metrics["test/integral"] == pytest.approx(1, abs=1e-3)
    assert abs(findings.metrics["test/mmd"]) < 0.003
    assert findings.figures.keys() == {"maps", "density", "grid"}


def test_a_density_that_is_too_small_by_a_tenth_has_an_integral_of_0_9():
    study = plane_study()
    study.app.logabsdet = study.app.logabsdet + math.log(0.9)
    findings = Density2d(samples=200, resolution=200)(study)
    assert findings.metrics["test/integral"] == pytest.approx(0.9, abs=1e-3)


def test_kl_equals_that_of_two_gaussians(study):
    app, law = study.app, study.data.law
    covariance = app.colour @ app.colour.T
    fitted = torch.distributions.MultivariateNormal(app.bias, covariance)
    exact = float(torch.distributions.kl_divergence(law, fitted))
    metrics = Exact(resolution=50)(study).metrics
    assert abs(metrics["test/kl"] - exact) < 3 * metrics["test/kl_se"]
    assert metrics["test/kl_se"] < 0.005


def test_exact_draws_both_densities(study):
    assert Exact(resolution=50)(study).figures.keys() == {"pointwise", "densities"}


def test_exact_needs_exact_data():
    study = plane_study()
    study.data = Bare()
    with pytest.raises(InnflowError, match="no exact log_prob"):
        Exact()(study)


def test_likelihood_of_vectors_is_in_nats(study):
    metrics = Likelihood()(study).metrics
    entropy = float(study.data.law.entropy())
    assert metrics["test/nll"] == pytest.approx(entropy, abs=0.1)
    assert metrics.keys() == {"train/nll", "test/nll", "nll/val"}


def test_the_plane_is_refused_to_images():
    with pytest.raises(InnflowError, match=r"needs data of shape \(2,\)"):
        Density2d()(image_study())


def test_grid_covers_its_box():
    extent = bounds(np.array([[0.0, 0.0], [4.0, 2.0]]))
    assert extent == (-1.0, 5.0, -0.5, 2.5)
    points = grid(extent, 10)
    assert points.shape == (100, 2)
    assert cell(extent, 10) * 100 == pytest.approx(6 * 3)
    np.testing.assert_allclose(points[0], [-0.7, -0.35], rtol=1e-6)
    np.testing.assert_allclose(points[1] - points[0], [0.6, 0], atol=1e-6)
