"""Gradient ascent, on parabolas and on a real small Glow."""

import io
import warnings

import numpy as np
import pytest
import torch

from analysis.flows import flow_study
from analysis.gaussian import Gaussian
from analysis.linear import image_study, plane_study
from innflow.analysis import Ascent
from innflow.analysis.ood.ascent import climb_all

PEAK = 60.0


def parabolas(x):
    """Two terms: one peaks where all pixels are 60, the other falls with the pixels."""
    flat = x.flatten(1)
    return torch.stack([-(flat - PEAK).square().mean(1), -flat.mean(1)], dim=1)


def test_each_image_climbs_its_own_objective():
    starts = torch.full((3, 1, 2, 2), 100.0)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    climb = climb_all(parabolas, starts, weights, steps=200, lr=2.0, top=255)
    assert climb.images.shape == (201, 3, 1, 2, 2)
    np.testing.assert_array_equal(climb.images[0], starts)
    ends = climb.images[-1].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(ends, [PEAK, 0, 255], atol=0.05)
    exact = parabolas(torch.tensor(climb.images[-1]))
    np.testing.assert_allclose(climb.terms[-1], exact, rtol=1e-5, atol=1e-4)
    assert climb.stopped == 0


def test_an_image_stops_where_nothing_finite_lies_ahead():
    def cliff(x):
        terms = -x.flatten(1).mean(1, keepdim=True)
        return terms + torch.where(terms > -90, torch.inf, 0.0)

    starts = torch.tensor([100.0, 200.0]).reshape(2, 1, 1, 1)
    climb = climb_all(cliff, starts, torch.ones(2, 1), steps=30, lr=2.0, top=255)
    assert climb.stopped == 1
    assert 90 <= climb.images[-1, 0].item() < 92
    assert climb.images[-1, 1].item() < 180
    assert np.isfinite(climb.terms).all()


def test_a_start_that_is_not_finite_is_refused(refused):
    with refused("not finite for 1 of 2 starts"):
        starts = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
        climb_all(lambda x: x.flatten(1).log(), starts, torch.ones(2, 1), 3, 1.0, 255)


@pytest.fixture(scope="module")
def findings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Ascent(steps=12, shown=3)(flow_study())
        for plot in found.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    return found


def test_every_objective_of_a_flow_rises(findings):
    assert findings.metrics.keys() == {
        *("ascent/log_prob/gain", "ascent/scale_1/gain", "ascent/scale_2/gain")
    }
    assert all(value > 0 for value in findings.metrics.values())
    (table,) = findings.tables
    assert [row[0] for row in table.rows[::3]] == ["test", "dog", "ball", "noise"]
    for _, objective, *gains in table.rows:
        climbed = {"log p": 0, "scale 1 alone": 1, "scale 2 alone": 2}[objective]
        assert float(gains[climbed].replace(",", "")) > 0
    rises = [[line.get_ydata() for line in a.lines] for a in findings.figures["gain"].figure.axes]
    assert all(line[0] == 0 < line[-1] for panel in rises for line in panel)


def test_parameters_get_no_gradient_and_the_study_repeats():
    study = flow_study()
    first = Ascent(steps=3)(study).text
    assert all(parameter.grad is None for parameter in study.app.flow.parameters())
    assert Ascent(steps=3)(study).text == first


def test_what_cannot_be_climbed_is_refused(refused):
    with refused("analysis ascent: needs images"):
        Ascent().check(plane_study())
    with refused("Gaussian has no density of x alone"):
        study = image_study()
        study.app = Gaussian()
        study.is_image = True
        Ascent().check(study)
    with refused("analysis.ascent.lr=0"):
        Ascent(lr=0.0).check(flow_study())
