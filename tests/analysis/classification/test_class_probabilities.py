"""Classification and counterfactuals, by flows whose class probabilities are known."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from analysis.classes import clouds, digits, ring
from analysis.linear import plane_study
from innflow.analysis import Classification, Counterfactual
from innflow.analysis.classification.recalibration import (
    calibration_floor,
    class_probabilities,
    fit_width,
    log_loss,
)
from innflow.metric.class_calibration import compute_classification

MEANS = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
EVEN = torch.ones(3, 2)
UNEVEN = torch.tensor([[0.5, 0.5], [1.0, 1.0], [3.0, 3.0]])


@pytest.fixture(scope="module")
def images():
    return digits()


def test_numbers_of_the_exact_classifier():
    """It is calibrated, so all methods find a factor of 1."""
    study = clouds(MEANS, EVEN)
    metrics = Classification()(study).metrics
    x, labels = (study.sets["test"].parts[key] for key in ("x", "label"))
    p = study.app.classify(x).numpy()
    direct = compute_classification(p, labels.numpy())
    assert metrics["test/accuracy"] == pytest.approx(direct["accuracy"])
    assert metrics["test/class_nll"] == pytest.approx(direct["nll"], rel=1e-5)
    assert metrics["test/brier"] == pytest.approx(direct["brier"], rel=1e-5)
    assert metrics["test/ece"] == pytest.approx(direct["ece"], abs=1e-5)
    assert metrics["test/accuracy_low"] < metrics["test/accuracy"] < metrics["test/accuracy_high"]
    assert metrics["test/ece"] < 3 * metrics["test/ece_floor"]
    assert metrics["calibration/class_width"] == pytest.approx(1, abs=0.05)
    assert metrics["calibration/temperature"] == pytest.approx(1, abs=0.1)


def test_widths_of_half_the_true_ones_are_recalibrated():
    metrics = Classification()(clouds(MEANS, EVEN, spoilt=0.5)).metrics
    assert metrics["calibration/class_width"] == pytest.approx(2, rel=0.06)
    assert metrics["test/ece"] > 0.1
    assert metrics["test/ece_calibrated"] < 3 * metrics["test/ece_floor"]
    assert metrics["test/class_nll_calibrated"] < metrics["test/class_nll"] - 0.1
    # All classes have one volume and one prior: a temperature can do the same.
    assert metrics["calibration/temperature"] == pytest.approx(4, rel=0.12)
    assert metrics["test/class_nll_temperature"] == pytest.approx(
        metrics["test/class_nll_calibrated"], abs=1e-3
    )


def test_a_temperature_cannot_recalibrate_classes_of_unequal_volume():
    metrics = Classification()(clouds(MEANS, UNEVEN, spoilt=0.5)).metrics
    exact = Classification()(clouds(MEANS, UNEVEN)).metrics
    assert metrics["calibration/class_width"] == pytest.approx(2, rel=0.06)
    assert metrics["test/class_nll_calibrated"] == pytest.approx(exact["test/class_nll"], abs=3e-3)
    assert metrics["test/class_nll_temperature"] > metrics["test/class_nll_calibrated"] + 0.01
    assert metrics["test/ece_temperature"] > 2 * metrics["test/ece_calibrated"]


def test_a_width_equals_a_mixture_with_wider_classes():
    study = clouds(MEANS, UNEVEN)
    mixture, x = study.app.mixture, study.sets["test"].parts["x"]
    logits = (study.app.class_log_prob(x) + mixture.log_prior.detach()).numpy()
    offsets = (mixture.log_prior - mixture.log_scales.sum(dim=1)).detach().numpy()
    with torch.no_grad():
        mixture.log_scales += np.log(1.7)
    wider = study.app.classify(x).numpy()
    np.testing.assert_allclose(class_probabilities(logits[None], offsets, 1.7), wider, atol=1e-5)


def test_draws_of_the_noise_are_averaged_as_probabilities():
    logits = np.random.default_rng(0).normal(size=(5, 7, 3))
    mean = softmax(logits, axis=2).mean(axis=0)
    np.testing.assert_allclose(class_probabilities(logits, np.zeros(3), 1.0), mean)


@pytest.mark.parametrize("right", [True, False])
def test_items_that_are_all_right_or_all_wrong_leave_a_width_that_can_be_used(right):
    """The loss alone would fall for ever; the prior of the factor stops it, where slopes meet."""
    labels = np.arange(40) % 4
    logits = 10 * np.eye(4)[labels if right else labels - 1][None]
    factor = fit_width(logits, np.zeros(4), labels)
    assert (0.1 < factor < 1) if right else (1 < factor < 100)
    step = 1e-4
    nearby = [log_loss(logits, np.zeros(4), factor * np.exp(x), labels) for x in (-step, step)]
    prior = np.log(factor) / np.log(2) ** 2 / 40
    assert (nearby[1] - nearby[0]) / (2 * step) == pytest.approx(-prior, abs=1e-3)


def test_the_floor_is_the_error_that_chance_alone_makes():
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(0, 2, (500, 4)), axis=1)
    errors = []
    for seed in range(40):
        draws = np.random.default_rng(seed).random((500, 1))
        errors.append(compute_classification(p, (draws > p.cumsum(axis=1)).sum(axis=1))["ece"])
    assert calibration_floor(p, seed=0) == pytest.approx(np.mean(errors), rel=0.12)


def test_in_the_plane_the_regions_are_drawn_and_classes_counted():
    findings = Classification()(clouds(MEANS, EVEN, n=300))
    assert findings.figures.keys() == {"reliability", "confusion", "regions"}
    assert [row[0] for row in findings.tables[1].rows] == ["class 0", "class 1", "class 2"]
    assert sum(int(row[1]) for row in findings.tables[1].rows) == 300
    assert [row[0] for row in findings.tables[0].rows] == [
        "none",
        "temperature",
        "class width (chosen)",
    ]


def test_images_are_averaged_over_their_noise_and_val_chooses(images):
    findings = Classification(noise_draws=2)(images)
    assert findings.figures.keys() == {"reliability", "confusion", "mistakes"}
    rows = {row[0].removesuffix(" (chosen)"): float(row[2]) for row in findings.tables[0].rows}
    own = ("class width", "noise", "class width and noise")
    assert rows.keys() == {"none", "temperature", *own}
    (chosen,) = (row[0] for row in findings.tables[0].rows if "chosen" in row[0])
    assert rows[chosen.removesuffix(" (chosen)")] == min(rows[name] for name in own)


def test_without_labels_or_classes_they_are_refused(refused):
    for name, analysis in (
        ("classification", Classification()),
        ("counterfactual", Counterfactual()),
    ):
        with refused(f"analysis {name}: needs app=classification and data with labels"):
            analysis.check(plane_study())
        with refused(f"analysis {name}: there is only one class"):
            analysis.check(ring("none"))


def test_counterfactuals_of_even_classes_are_shifts_by_the_means():
    findings = Counterfactual(tested=200)(clouds(4 * MEANS, EVEN, n=400))
    assert findings.figures.keys() == {"counterfactuals"}
    assert findings.metrics["counterfactual/reached"] > 0.97
    # Two of the three pairs of means are 6 apart, the third 6 sqrt 2.
    assert findings.metrics["counterfactual/distance"] == pytest.approx(6, rel=1e-4)
    assert findings.metrics["counterfactual/distance_between_classes"] == pytest.approx(
        6.6, abs=0.6
    )


def test_counterfactuals_of_images_are_judged_in_whole_grey_levels(images):
    findings = Counterfactual(items=4, tested=40)(images)
    assert findings.figures.keys() == {"class_means", "draws", "counterfactuals"}
    metrics = findings.metrics
    assert 0 <= metrics["counterfactual/reached"] <= 1
    assert 0 <= metrics["counterfactual/changed_share"] <= 1
    assert metrics["counterfactual/distance"] > 0


def test_pictures_of_few_grey_levels_are_stretched(images):
    x = np.array([[[[0.0, 8.2, 16.4, -3.0]]]])
    assert images.picture(x).tolist() == [[[[0, 128, 255, 0]]]]
    assert images.picture(x).dtype == np.uint8
