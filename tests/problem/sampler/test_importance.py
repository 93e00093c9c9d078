"""Resampling of weighted proposals: exact counts, exact moments, and when it gives up."""

from __future__ import annotations

import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.problem.sampler.importance import resample, systematic


def test_systematic_counts():
    share = np.array([0.5, 0.003, 0.25, 0.047, 0.2])
    index = systematic(share, 100, np.random.default_rng(0))
    counts = np.bincount(index, minlength=5)
    assert len(index) == 100
    assert np.all(np.abs(counts - 100 * share) < 1)
    assert np.any(np.diff(index) < 0), "draws must not come sorted"


def test_systematic_is_unbiased():
    share = np.array([0.11, 0.23, 0.66])
    rng = np.random.default_rng(0)
    counts = sum(np.bincount(systematic(share, 7, rng), minlength=3) for _ in range(4000))
    np.testing.assert_allclose(counts / 28_000, share, atol=0.005)


def test_resample_a_gaussian():
    rng = np.random.default_rng(0)

    def propose(count):
        x = 2 + 3 * rng.standard_normal((count, 1))
        return x, ((x[:, 0] - 2) / 3) ** 2 / 2 - (x[:, 0] - 1) ** 2 / 2

    x = resample(propose, 5000, rng)
    assert x.shape == (5000, 1)
    assert len(np.unique(x)) > 4900
    assert abs(x.mean() - 1) < 0.04
    assert abs(x.std() - 1) < 0.04


def test_resample_asks_for_more_until_there_is_enough():
    rng = np.random.default_rng(0)
    asked = []

    def propose(count):
        asked.append(count)
        return rng.standard_normal((count, 1)), np.zeros(count)

    resample(propose, 1500, rng, oversampling=3, batch=1000)
    assert asked[0] == 1000
    assert sum(asked) >= 4500


def test_resample_gives_up():
    def propose(count):
        return np.zeros((count, 1)), np.r_[1e3, np.zeros(count - 1)]

    with pytest.raises(InnflowError, match=r"proposals have an effective sample size of \d+"):
        resample(propose, 10, np.random.default_rng(0), limit=2**18)
