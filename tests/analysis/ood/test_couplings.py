"""Couplings of a small Glow."""

import io
import warnings

import numpy as np
import pytest
import torch

from analysis.flows import SIZE, flow_study
from analysis.gaussian import Gaussian
from analysis.linear import image_study, plane_study
from innflow.analysis import Couplings
from innflow.analysis.examples import choose_evenly, choose_examples
from innflow.analysis.ood.couplings import coupling_names, prediction, trace
from innflow.flow import CouplingTrace, latent_layout
from innflow.metric import neighbour_correlation


@pytest.fixture(scope="module")
def study():
    return flow_study()


@pytest.mark.parametrize("settings", [(3, 2), (1, 0)])
def test_it_runs_without_a_warning(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = Couplings(items=6, shown=3)(flow_study(*settings))
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    assert findings.metrics
    assert all(np.isfinite(value) for value in findings.metrics.values())
    for table in findings.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_vectors_and_conditional_applications_are_refused(refused):
    with refused("analysis couplings: needs images"):
        Couplings()(plane_study())
    with refused("analysis couplings: Gaussian has no density of x", "analysis.couplings=null"):
        study = image_study()
        study.app = Gaussian()
        study.is_image = True
        Couplings()(study)


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
    table = Couplings(items=20)(study).tables[1]
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
    latent = latent_layout(study.app.flow, study.app.encode(torch.tensor(images))).numpy()
    np.testing.assert_allclose(trace(study, images)[-1].outputs, latent, atol=1e-5)
    metric = Couplings(items=6)(study).metrics["couplings/neighbours/dog"]
    assert metric == pytest.approx(neighbour_correlation(latent).mean(), abs=1e-5)


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
