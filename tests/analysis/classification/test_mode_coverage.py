"""Modes, on a flow that has the exact density of every class."""

import math

import numpy as np
import pytest
import torch

from analysis.classes import clouds, ring
from innflow.analysis import Modes


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Stand in for the classifier, which is tested by itself: how far apart the means are."""

    def apart(draws, reference, *settings):
        gap = np.abs(draws.mean(axis=0) - reference.mean(axis=0)) / reference.std(axis=0)
        return 0.5 + min(0.5, float(gap.max()))

    monkeypatch.setattr("innflow.analysis.classification.mode_coverage.compute_c2st", apart)


def test_the_exact_flow_covers_all_modes_and_has_no_gap():
    findings = Modes(draws=3000, compared=2000)(ring())
    metrics = findings.metrics
    assert metrics["test/modes_covered"] == 8
    assert metrics["test/far_share"] == pytest.approx(math.exp(-8), abs=1e-3)
    assert metrics["test/nll_gap"] == pytest.approx(0, abs=1e-5)
    assert metrics["test/nll_gap_se"] < 1e-5
    assert metrics["test/nll_gap_to_entropy"] == pytest.approx(0, abs=0.15)
    for sort in ("c2st", "c2st_floor"):
        assert 0.5 < metrics[f"test/{sort}_mean"] < metrics[f"test/{sort}_max"] < 0.62
    assert findings.figures.keys() == {"modes"}
    assert [row[1] for row in findings.tables[0].rows] == ["1 of 1"] * 8


def test_one_wide_class_for_four_modes_is_detected():
    """The classes of four and of two modes, three in four items, are one normal between them."""
    study = ring("some")
    metrics = Modes(draws=1000, compared=300)(study).metrics
    assert metrics["test/modes_covered"] == 2  # of the two classes of one mode
    assert 0.6 < metrics["test/far_share"] < 0.76
    assert metrics["test/nll_gap"] > 1


def test_exchanged_classes_are_detected():
    study = ring()
    with torch.no_grad():
        study.app.mixture.means[[0, 1]] = study.app.mixture.means[[1, 0]]
    findings = Modes(draws=100, compared=100)(study)
    assert findings.metrics["test/modes_covered"] == 6
    assert findings.metrics["test/c2st_max"] == 1.0
    assert [float(row[4]) for row in findings.tables[0].rows[:2]] == [1.0, 1.0]
    assert findings.metrics["test/c2st_floor_max"] < 0.9


def test_the_gap_is_the_divergence_of_a_shifted_class():
    """KL of two normals of width sigma, a shift of d apart, is d^2 / 2 sigma^2 nats."""
    study = ring()
    with torch.no_grad():
        study.app.mixture.means[:, 0] += 0.1
    metrics = Modes(draws=100, compared=20)(study).metrics
    assert metrics["test/nll_gap"] == pytest.approx(0.125, abs=4 * metrics["test/nll_gap_se"])
    assert 0.005 < metrics["test/nll_gap_se"] < 0.03


def test_data_without_exact_modes_are_refused(refused):
    with refused("analysis modes: needs data whose modes are known"):
        Modes().check(clouds(torch.zeros(2, 2), torch.ones(2, 2), n=20))


def test_more_draws_compared_than_drawn_are_refused(refused):
    with refused("analysis.modes.compared=50", "analysis.modes.draws=40"):
        Modes(draws=40, compared=50).check(ring())
