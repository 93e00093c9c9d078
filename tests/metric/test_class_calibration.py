import logging
import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from innflow.data.toy.modes import EightModes
from innflow.metric.class_calibration import (
    compute_classification,
    fit_temperature,
    modes_covered,
    reliability,
)


def draw(n=4000, classes=4, temperature=1.0, seed=0):
    """Return logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    chances = softmax(logits / temperature, axis=1)
    labels = (rng.random((n, 1)) > chances.cumsum(1)).sum(1)
    return logits, labels


@pytest.mark.parametrize("classes", [2, 5])
def test_numbers_equal_those_of_sklearn(classes):
    logits, labels = draw(classes=classes)
    p = softmax(logits, axis=1)
    found = compute_classification(p, labels)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, p.argmax(1)))
    assert found["nll"] == pytest.approx(metrics.log_loss(labels, p))
    one_hot = np.eye(classes)[labels]
    assert found["brier"] == pytest.approx(((p - one_hot) ** 2).sum(1).mean())


def test_calibration_errors_in_closed_form():
    # Sixty say 0.9 and 45 are right, forty say 0.6 and all are right: gaps 0.15 and 0.4.
    p = np.array([[0.9, 0.1]] * 60 + [[0.4, 0.6]] * 40)
    labels = np.array([0] * 45 + [1] * 15 + [1] * 40)
    found = compute_classification(p, labels)
    assert found["ece"] == pytest.approx(0.6 * 0.15 + 0.4 * 0.4, abs=1e-6)
    assert found["mce"] == pytest.approx(0.4, abs=1e-6)


def test_the_diagram_adds_up_to_the_calibration_error():
    logits, labels = draw(temperature=2.0)
    # Sure to the last bit: such items belong to the last bin, not to one of their own.
    p = np.concatenate([softmax(logits, axis=1), np.tile([1.0, 0, 0, 0], (50, 1))])
    labels = np.concatenate([labels, np.repeat([0, 1], 25)])
    found = compute_classification(p, labels)
    bins = reliability(p, labels)
    gaps = np.abs(bins.confidence - bins.accuracy)
    full = bins.counts > 0
    assert bins.counts.sum() == len(labels)
    assert np.isnan(gaps[~full]).all()
    ece = (gaps * bins.counts)[full].sum() / len(labels)
    assert found["ece"] == pytest.approx(ece, abs=1e-6)
    assert found["mce"] == pytest.approx(gaps[full].max(), abs=1e-6)


def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not():
    logits, labels = draw(40_000)
    assert compute_classification(softmax(logits, axis=1), labels)["ece"] < 0.01
    assert compute_classification(softmax(logits / 0.3, axis=1), labels)["ece"] > 0.1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_the_labels_is_found(temperature):
    logits, labels = draw(60_000, temperature=temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)

    def loss(value):
        return compute_classification(softmax(logits / value, axis=1), labels)["nll"]

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_far_apart_log_likelihoods_overflow_nothing():
    logits, labels = draw(temperature=1.0)
    assert fit_temperature(50 * logits - 1e5, labels) == pytest.approx(50, rel=0.1)


def test_without_a_misclassified_item_the_temperature_stays_1_with_a_warning(caplog):
    logits = np.eye(3) * 5
    with caplog.at_level(logging.WARNING):
        assert fit_temperature(logits, [0, 1, 2]) == 1
    assert "none of 3 items is misclassified" in caplog.text


def test_the_interval_is_that_of_the_plain_bootstrap():
    logits, labels = draw(300)
    p = softmax(logits, axis=1)
    found = compute_classification(p, labels, resamples=4000)
    correct = p.argmax(1) == labels
    rng = np.random.default_rng(3)
    plain = [rng.choice(correct, len(correct)).mean() for _ in range(4000)]
    low, high = np.quantile(plain, [0.025, 0.975])
    assert found["accuracy_low"] == pytest.approx(low, abs=0.005)
    assert found["accuracy_high"] == pytest.approx(high, abs=0.005)
    assert found == compute_classification(p, labels, resamples=4000)


def test_a_sure_mistake_costs_infinity():
    assert compute_classification([[1.0, 0.0]], [1])["nll"] == math.inf


@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
    [
        ([[0.5, 0.6]], [0], "do not sum to 1"),
        ([[1.5, -0.5]], [0], "negative"),
        ([[0.5, math.nan]], [0], "1 of 1 rows"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [-1], "from 0 to 1"),
        ([[0.5, 0.5]], [0.0], "integers"),
        ([[0.5, 0.5]], [0, 1], "got (1, 2) and (2,)"),
        (np.empty((0, 2)), np.empty(0, int), "got (0, 2)"),
        ([[1.0], [1.0]], [0, 0], "at least two classes"),
    ],
)
def test_what_is_no_classification(refused, probabilities, labels, says):
    with refused("classification metrics", says):
        compute_classification(probabilities, labels)


def test_exact_draws_cover_all_modes_of_their_class_and_no_others():
    data = EightModes("some")
    x = data.sample_class(0, 20_000, np.random.default_rng(0))
    own = modes_covered(x, data.centres[data.mode_labels == 0], data.sigma)
    assert own.covered == 4
    np.testing.assert_allclose(own.shares, 0.25, atol=0.02)
    # Beyond 4 sigma in the plane: exp(-8).
    assert own.far < 0.002
    assert own.shares.sum() + own.far == pytest.approx(1)
    every = modes_covered(x, data.centres, data.sigma)
    assert every.covered == 4
    np.testing.assert_array_equal(every.shares[4:], 0)


def test_a_mode_with_less_than_half_its_share_is_not_covered():
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    at = [0] * 75 + [1] * 25
    assert modes_covered(centres[at], centres, 0.1).covered == 2
    at = [0] * 76 + [1] * 24
    assert modes_covered(centres[at], centres, 0.1).covered == 1
    found = modes_covered(centres + np.array([[0.39, 0], [0.41, 0]]), centres, 0.1)
    assert (found.covered, found.far) == (1, 0.5)


def test_draws_that_are_not_finite(refused):
    with refused("modes covered"):
        modes_covered([[0.0, math.nan]], [[0.0, 0.0]], 0.1)
