"""Texture, amplitudes and phases, on likelihoods that are made of them."""

import io
import warnings

import numpy as np
import pytest
import torch

from analysis.linear import LinearGaussian, image_study, images, plane_study
from innflow.analysis import AmplitudePhase, Texture
from innflow.metric import (
    count_differences,
    difference_density,
    mean_absolute_difference,
    mean_log_density,
)
from innflow.score import Measured


class Likelihood(LinearGaussian):
    """A log probability that is a function of the image given by a test."""

    function = None

    def measure(self, x):
        values = torch.tensor(type(self).function(x.numpy()))
        return Measured(values, values[:, None], values, super().measure(x).latent, x)


def study_of(function, **settings):
    study = image_study(**settings)
    kind = type("Given", (Likelihood,), {"function": staticmethod(function)})
    study.app = kind(images(200, study.app.shape[0], 0), ridge=1.0)
    study._measured.clear()
    return study


@pytest.mark.parametrize("analysis", [Texture(), AmplitudePhase(pairs=6, steps=3, shown=2)])
@pytest.mark.parametrize("settings", [(3, 2), (1, 0)])
def test_each_runs_without_a_warning(analysis, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = analysis(image_study(*settings))
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    assert all(np.isfinite(value) for value in findings.metrics.values())
    for table in findings.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("analysis", [Texture(), AmplitudePhase()])
def test_vectors_are_refused(analysis, refused):
    with refused("needs images"):
        analysis(plane_study())


def test_a_likelihood_of_roughness_alone_correlates_perfectly_with_it():
    study = study_of(lambda x: np.exp(-mean_absolute_difference(count_differences(x)) / 10))
    metrics = Texture()(study).metrics
    for name in ("test", "dog", "ball", "pooled"):
        assert metrics[f"texture/size/{name}/spearman"] == pytest.approx(-1)
    assert metrics["texture/size/test/pearson"] < -0.95


def test_a_likelihood_of_the_training_differences_correlates_perfectly():
    first = image_study()
    usual = difference_density(count_differences(first.measure("train").data))
    study = study_of(lambda x: 3 * mean_log_density(count_differences(x), usual) - 5)
    metrics = Texture()(study).metrics
    for name in ("test", "dog", "ball", "pooled"):
        assert metrics[f"texture/density/{name}/pearson"] == pytest.approx(1)


def test_a_walk_starts_at_the_image_itself():
    study = image_study()
    seen = []
    study.app.log_prob = lambda x: seen.append(x) or study.app.measure(x).log_prob
    analysis = AmplitudePhase(pairs=5, steps=2)
    analysis(study)
    walks = torch.cat(seen).reshape(5, 2, 3, 8, 8)
    test = study.measure("test").data
    order = np.random.default_rng(study.seed).permutation(len(test))[:5]
    np.testing.assert_array_equal(walks[:, 0].numpy(), test[order])
    assert walks.dtype == torch.uint8
    assert not torch.equal(walks[:, 1], walks[:, 0])


def test_a_likelihood_of_amplitudes_follows_their_donor():
    def steepness(x):
        power = np.abs(np.fft.fft2(x.astype(float)))
        return -np.log(power[:, :, 1:, 1:] + 1).mean(axis=(1, 2, 3))

    metrics = AmplitudePhase(pairs=100, steps=2)(study_of(steepness)).metrics
    assert metrics["amplitude_phase/amplitude/pearson"] > 0.9
    assert abs(metrics["amplitude_phase/phase/pearson"]) < 0.3


def test_a_likelihood_of_phases_follows_theirs():
    def place(x):
        # Phases say where an image is bright: left or right.
        return x[..., :4].mean(axis=(1, 2, 3)) - x[..., 4:].mean(axis=(1, 2, 3))

    metrics = AmplitudePhase(pairs=100, steps=2)(study_of(place)).metrics
    assert metrics["amplitude_phase/phase/spearman"] > 0.6
    assert metrics["amplitude_phase/phase/spearman"] > (
        metrics["amplitude_phase/amplitude/spearman"] + 0.4
    )
