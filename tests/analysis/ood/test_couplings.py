"""Looks into a real small Glow: couplings, layers, latents as images."""

import io
import warnings

import numpy as np
import pytest
import torch

from analysis.flows import SIZE, flow_study
from analysis.gaussian import Gaussian
from analysis.linear import image_study, plane_study
from innflow.analysis import Couplings, LatentImages, Layers
from innflow.analysis.examples import choose_evenly, choose_examples
from innflow.analysis.ood.couplings import coupling_names, prediction, trace
from innflow.flow import CouplingTrace
from innflow.metric import neighbour_correlation


@pytest.fixture(scope="module")
def study():
    return flow_study()


ANALYSES = {
    "couplings": Couplings(items=6),
    "layers": Layers(items=6, shown=2),
    "latent_images": LatentImages(items=3, draws=5),
}


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("settings", [(3, 2), (1, 0)])
def test_each_runs_without_a_warning(name, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = ANALYSES[name](flow_study(*settings))
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    assert findings.metrics
    assert all(np.isfinite(value) for value in findings.metrics.values())
    for table in findings.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("name", ANALYSES)
def test_vectors_and_applications_that_cannot_be_looked_into_are_refused(name, refused):
    with refused(f"analysis {name}: needs images"):
        ANALYSES[name](plane_study())
    with refused(f"analysis {name}: Gaussian has no density of x", f"analysis.{name}=null"):
        study = image_study()
        study.app = Gaussian()
        study.is_image = True
        ANALYSES[name](study)


def test_maps_have_the_shape_of_the_images(study):
    seen = trace(study, study.measure("test").data[:5])
    assert len(seen) == 4
    for one in seen:
        for part in (one.log_scale, one.shift, one.outputs):
            assert part.shape == (5, 3, SIZE, SIZE)
    names = ["level 1\ncoupling 1", "level 1\ncoupling 2"]
    assert coupling_names(seen) == [*names, "level 2\ncoupling 1", "level 2\ncoupling 2"]


def test_log_determinants_of_couplings_make_the_difference_between_sets(study):
    # The other layers of a Glow have one log-determinant for all images.
    table = Couplings(items=20)(study).tables[0]
    totals = np.sum([[float(cell) for cell in row[1:]] for row in table.rows], axis=0)
    exact = [study.measure(name).logabsdet[:20].mean() for name in table.columns[1:]]
    np.testing.assert_allclose(totals - totals[0], np.array(exact) - exact[0], atol=0.5)
    assert np.ptp(exact) > 1


def test_prediction_is_one_where_the_shift_cancels_what_is_changed():
    generator = torch.Generator().manual_seed(0)
    changed, rest = torch.randn(2, 2, 1, 4, 4, generator=generator)
    mask = torch.zeros_like(changed)
    mask[..., :2] = 1
    perfect = CouplingTrace(0, 0, 0.1 * mask, -changed * mask, rest * (1 - mask))
    assert prediction(perfect) == pytest.approx(1)
    opposite = CouplingTrace(0, 0, 0.1 * mask, changed * mask, 2 * changed * mask)
    assert prediction(opposite) == pytest.approx(-1)
    idle = CouplingTrace(0, 0, 0 * mask, 0 * mask, changed)
    assert np.isnan(prediction(idle))


def test_the_last_layer_is_the_latent(study):
    images = study.measure("dog").data[:6]
    latent = study.app.latent_layout(study.app.encode(torch.tensor(images))).numpy()
    np.testing.assert_allclose(trace(study, images)[-1].outputs, latent, atol=1e-5)
    metric = Layers(items=6)(study).metrics["layers/neighbours/dog"]
    assert metric == pytest.approx(neighbour_correlation(latent).mean(), abs=1e-5)


def encoder(study, encode):
    """Return the study with another encoder, whose latent lies in the layout of the image."""
    shape = study.app.shape
    study.app.encode = encode
    study.app.latent_layout = lambda z: z.reshape(-1, *shape)
    return study


def test_latents_of_noise_alone_have_a_mean_as_long_as_by_chance():
    def encode(x, noise_seed=None):
        generator = torch.Generator().manual_seed(noise_seed or 0)
        return torch.randn(len(x), 192, generator=generator)

    study = flow_study()
    study.measure("test"), study.measure("dog"), study.measure("ball")
    metrics = LatentImages(draws=40, items=20)(encoder(study, encode)).metrics
    assert metrics["latent_images/mean_norm/test"] == pytest.approx(1, abs=0.05)
    assert abs(metrics["latent_images/edges/test"]) < 0.1


def test_latents_that_ignore_the_noise_have_their_whole_length():
    def encode(x, noise_seed=None):
        return x.flatten(1).double()

    study = flow_study()
    study.measure("test"), study.measure("dog"), study.measure("ball")
    metrics = LatentImages(draws=10, items=4)(encoder(study, encode)).metrics
    flat = study.measure("dog").data[:4].reshape(4, -1).astype(float)
    ratio = np.linalg.norm(flat, axis=1).mean() / np.sqrt(192 / 10)
    assert metrics["latent_images/mean_norm/dog"] == pytest.approx(ratio)


def test_examples_are_chosen_by_the_seed_and_named(study):
    examples = choose_examples(study, inliers=2)
    assert examples.names == ["test", "test", "dog", "ball"]
    assert examples.images.shape == (4, 3, SIZE, SIZE)
    again = choose_examples(flow_study(), inliers=2).images
    np.testing.assert_array_equal(examples.images, again)
    other = choose_examples(flow_study(seed=1), inliers=2).images
    assert not np.array_equal(examples.images, other)


def test_a_selection_is_even_and_keeps_both_ends():
    assert choose_evenly(range(28), 4) == [0, 9, 18, 27]
    assert choose_evenly(range(3), 8) == [0, 1, 2]
    findings = Couplings(shown=3, items=2)(flow_study())
    assert "3 of 4 couplings" in findings.figures["couplings"].caption
