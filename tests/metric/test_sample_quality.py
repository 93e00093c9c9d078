from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from innflow.errors import InnflowError
from innflow.metric import LinearProbe, frechet_distance, kernel_distance, precision_recall


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_kernel_distance_is_the_mean_over_pairs_of_different_items(rng):
    x, y = rng.normal(size=(5, 3)), rng.normal(1, 1, size=(7, 3))

    def k(u, v):
        return (u @ v / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(7) for j in range(7) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average(rng):
    values = [kernel_distance(*rng.normal(size=(2, 20, 4))) for _ in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)


@pytest.mark.parametrize("count", [6, 200])
def test_the_frechet_distance_agrees_with_the_root_of_the_product(count, rng):
    x, y = rng.normal(size=(count, 8)) @ rng.normal(size=(8, 8)), rng.normal(1, 2, size=(50, 8))
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(first @ second + 1e-12 * np.eye(8)).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


def test_the_frechet_distance_of_normal_distributions_is_the_closed_form(rng):
    x, y = rng.normal(0, 1, (20_000, 2)), rng.normal(3, 2, (20_000, 2))
    assert frechet_distance(x, y) == pytest.approx(2 * 3**2 + 2 * (2 - 1) ** 2, rel=0.02)


def test_precision_falls_with_bad_samples_and_recall_with_missing_modes(rng):
    real = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(20, 1, (200, 2))])
    one_mode, with_noise = real[:200] + 0.01, np.concatenate([real, rng.uniform(50, 90, (400, 2))])
    precision, recall = precision_recall(one_mode, real)
    assert precision > 0.95
    assert recall == pytest.approx(0.5, abs=0.05)
    precision, recall = precision_recall(with_noise, real)
    assert precision == pytest.approx(0.5, abs=0.02)
    assert recall == 1.0


def test_the_probe_counts_items_on_the_side_of_the_inliers(rng):
    probe = LinearProbe(rng.normal(0, 1, (300, 5)), rng.normal(3, 1, (900, 5)))
    assert probe.share(rng.normal(0, 1, (200, 5))) > 0.95
    assert probe.share(rng.normal(3, 1, (200, 5))) < 0.05


@pytest.mark.parametrize("bad", [np.zeros((1, 2)), np.zeros(4), np.full((4, 2), np.nan)])
def test_features_that_cannot_be_compared_are_refused(bad):
    for function in (kernel_distance, frechet_distance, precision_recall, LinearProbe):
        with pytest.raises(InnflowError, match="sample quality: features"):
            function(bad, np.zeros((9, 2)))
