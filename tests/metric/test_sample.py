import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.metric import mmd


def clouds(seed, n=300, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(shift, 1, size=(n, 2))


def plain(x, y, scales=(0.25, 0.5, 1.0, 2.0)):
    """The definition, written as loops over pairs."""
    pooled = np.concatenate([x, y])
    distance = np.linalg.norm(pooled[:, None] - pooled[None], axis=2)
    widths = np.array(scales) * np.quantile(
        distance[np.triu_indices(len(pooled), 1)], 0.5, method="lower"
    )
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
    # Blocks of rows; the pool that sets the scale shrinks with them, so it holds all points here.
    monkeypatch.setattr("innflow.metric.divergence.ROWS", 100)
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
