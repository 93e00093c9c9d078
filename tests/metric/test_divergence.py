"""Bits per dim, Kullback-Leibler divergence and MMD."""

import math

import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.metric import bits_per_dim, kl_divergence, mmd


def test_bits_per_dim_of_uniform_images_is_eight():
    dims = 3 * 4 * 4
    log_prob = np.full(5, -dims * math.log(256))
    np.testing.assert_allclose(bits_per_dim(log_prob, dims), 8.0)


def test_kl_of_two_gaussians_is_within_its_standard_error():
    mean, scale = 0.7, 1.4
    exact = math.log(scale) + (1 + mean**2) / (2 * scale**2) - 0.5
    x = np.random.default_rng(0).normal(size=40_000)
    log_p = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)
    log_q = -0.5 * ((x - mean) / scale) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(scale)
    kl, error = kl_divergence(log_p, log_q)
    assert abs(kl - exact) < 3 * error
    assert error == pytest.approx(np.std(log_p - log_q, ddof=1) / 200)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_kl_refuses_what_is_not_finite(bad):
    with pytest.raises(InnflowError, match="not finite for 1 of 3"):
        kl_divergence([0.0, 1.0, 2.0], [0.0, bad, 1.0])


def clouds(seed, n=300, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(shift, 1, size=(n, 2))


def plain(x, y, scales=(0.25, 0.5, 1.0, 2.0)):
    """The definition, written as loops over pairs."""
    pooled = np.concatenate([x, y])
    distance = np.linalg.norm(pooled[:, None] - pooled[None], axis=2)
    widths = np.array(scales) * np.median(distance[np.triu_indices(len(pooled), 1)])
    kernel = np.mean([np.exp(-(distance**2) / (2 * w**2)) for w in widths], axis=0)
    n = len(x)
    xx, yy, xy = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    off = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    return sum(off) - 2 * xy.mean()


def test_mmd_equals_its_definition():
    x, y = clouds(0, 60, 0.4)
    assert mmd(x, y[:50]) == pytest.approx(plain(x, y[:50]), abs=1e-12)


def test_rows_do_not_change_the_sum(monkeypatch):
    x, y = clouds(1, 100)
    whole = mmd(x, y)
    monkeypatch.setattr("innflow.metric.divergence.ROWS", 7)
    assert mmd(x, y) == pytest.approx(whole, abs=1e-12)


def test_mmd_has_no_bias():
    values = [mmd(*clouds(seed, 60)) for seed in range(120)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * standard_error
    assert min(values) < 0


def test_mmd_grows_with_distance():
    assert mmd(*clouds(0)) < mmd(*clouds(0, shift=0.5)) < mmd(*clouds(0, shift=1.5))


def test_what_has_no_estimate_is_refused():
    x, y = clouds(0, 10)
    with pytest.raises(InnflowError, match="two points"):
        mmd(x[:1], y)
    with pytest.raises(InnflowError, match="not finite"):
        mmd(x, np.full((4, 2), np.nan))
    with pytest.raises(InnflowError, match="coincide"):
        mmd(np.zeros((5, 2)), np.zeros((5, 2)))
