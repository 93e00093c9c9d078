"""L-C2ST: uniform p-values of a calibrated posterior, small ones where it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from innflow.metric.local_calibration import LocalTest


def simulations(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)), rng.standard_normal((n, 2)), rng


def test_p_values_of_a_calibrated_posterior_are_uniform(monkeypatch):
    monkeypatch.setattr("innflow.metric.local_calibration.SWAPS", 199)
    found = [LocalTest(*simulations(100, seed))([0.5, -0.5]) for seed in range(100)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("wrong", ["shift", "width", "correlation"])
def test_a_posterior_that_is_wrong_everywhere_fails(wrong):
    z, y, rng = simulations(500, 0)
    if wrong == "shift":
        z[:, 0] += 0.4
    elif wrong == "width":
        z *= 0.75
    else:
        z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
    assert LocalTest(z, y, rng)([0.0, 0.0]) < 0.01


def test_a_posterior_that_is_wrong_at_some_data_fails_only_there():
    z, y, rng = simulations(1000, 0)
    z[:, 0] += np.where(y[:, 0] > 0, 0.8, 0.0)
    test = LocalTest(z, y, rng)
    assert test([1.0, 0.0]) < 0.01
    assert test([-2.0, 0.0]) > 0.01


def test_other_inputs_are_refused(refused):
    z, y, rng = simulations(60, 0)
    with refused("of 20 rows or more", "(19, 3)"):
        LocalTest(z[:19], y[:19], rng)
    with refused("(60, 3) and (59, 2)"):
        LocalTest(z, y[:59], rng)
    with refused("not finite"):
        LocalTest(np.where(z > 2, np.nan, z), y, rng)
