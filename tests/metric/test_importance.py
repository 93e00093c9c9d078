"""Importance weights: moments, evidence and tail shape with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from innflow.metric.importance import compute_importance, fit_pareto_shape


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.2])
def test_the_shape_of_a_generalised_pareto_is_found(shape):
    x = stats.genpareto(shape, scale=3.0).rvs(20_000, random_state=0)
    assert fit_pareto_shape(x) == pytest.approx(shape, abs=0.03)


@pytest.mark.parametrize("shape", [0.3, 0.6, 1.0])
def test_pareto_k_is_the_shape_of_the_largest_weights(shape):
    found = [
        compute_importance(-shape * np.log(np.random.default_rng(i).uniform(size=40_000))).pareto_k
        for i in range(20)
    ]
    assert np.mean(found) == pytest.approx(shape, abs=0.05)


def gaussian_ratio(n: int, seed: int, width: float = 1.5, level: float = 7.0) -> np.ndarray:
    """log of exp(level) N(0, 1) over N(0, width^2) at n draws of the latter."""
    x = width * np.random.default_rng(seed).standard_normal(n)
    return level + stats.norm.logpdf(x) - stats.norm(0, width).logpdf(x)


def test_evidence_and_efficiency_of_gaussians_are_exact():
    found = compute_importance(gaussian_ratio(200_000, 0))
    assert found.weights.sum() == pytest.approx(1)
    assert abs(found.log_evidence - 7.0) < 4 * found.log_evidence_error < 0.01
    # E[w^2] = s^2 / sqrt(2 s^2 - 1) for the ratio of N(0, 1) to N(0, s^2)
    assert found.efficiency == pytest.approx(math.sqrt(2 * 1.5**2 - 1) / 1.5**2, rel=0.01)
    assert found.effective == pytest.approx(200_000 * found.efficiency)
    assert found.pareto_k < 0.2


def test_a_proposal_that_is_too_narrow_has_a_large_pareto_k():
    assert compute_importance(gaussian_ratio(40_000, 0, width=0.5)).pareto_k > 0.6


def test_the_standard_error_is_the_spread_of_the_estimates():
    found = [compute_importance(gaussian_ratio(500, seed)) for seed in range(400)]
    spread = np.std([one.log_evidence for one in found])
    assert np.mean([one.log_evidence_error for one in found]) == pytest.approx(spread, rel=0.1)


def test_proposals_of_weight_zero_count_in_the_evidence():
    ratio = np.zeros(1000)
    ratio[:600] = -np.inf
    found = compute_importance(ratio)
    assert found.log_evidence == pytest.approx(math.log(0.4))
    assert found.efficiency == pytest.approx(0.4)
    assert (found.weights[:600] == 0).all()
    ratio[:] = -np.inf
    ratio[0] = 0
    assert compute_importance(ratio).pareto_k == math.inf


def test_weights_that_mean_nothing_are_refused(refused):
    with refused("all 100 proposals have weight 0"):
        compute_importance(np.full(100, -np.inf))
    with refused("NaN or infinite"):
        compute_importance(np.r_[np.zeros(100), np.nan])
    with refused("NaN or infinite"):
        compute_importance(np.r_[np.zeros(100), np.inf])
    with refused("K of 100 or more"):
        compute_importance(np.zeros(99))
