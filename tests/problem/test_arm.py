import numpy as np
import pytest
import torch

from innflow.problem import arm
from problem.laws import distances, rank_p_values, weighted_prior


def test_end_is_the_sum_of_the_turned_segments():
    x = arm.prior.sample((50,)).double()
    rail, one, two, three = x.numpy().T
    end = 1j * rail + 0.5 * np.exp(1j * one) + 0.5 * np.exp(1j * (one + two))
    end += np.exp(1j * (one + two + three))
    assert arm.forward(x).numpy() == pytest.approx(np.stack([end.real, end.imag], axis=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prior_predictive_has_the_known_moments(dtype):
    y = arm.forward(arm.prior.sample((100_000,)).to(dtype))
    assert y.dtype == dtype
    assert y.mean(dim=0).tolist() == pytest.approx([1.518, 0], abs=0.012)
    assert y.std(dim=0).tolist() == pytest.approx([0.513, 1.048], abs=0.012)


@pytest.mark.parametrize("y", [(1.5, 0.0), (1.8, 0.0), (1.0, 1.0), (1.99, 0.3)])
def test_draws_lead_back_to_the_data(y):
    draws = arm.posterior(np.array(y), 1000, np.random.default_rng(0), None)
    assert draws.shape == (1000, 4)
    assert np.abs(arm.forward(torch.from_numpy(draws)).numpy() - y).max() < 1e-12
    assert len(np.unique(draws, axis=0)) > 950


def test_the_elbow_bends_both_ways_evenly_for_an_end_on_the_axis():
    draws = arm.posterior(np.array([1.7, 0.0]), 4000, np.random.default_rng(0), None)
    up = np.sin(draws[:, 1:].sum(axis=1)) > 0
    assert up.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.extended
def test_true_parameters_rank_evenly_among_the_draws():
    assert rank_p_values(arm).min() > 0.002


@pytest.mark.parametrize("y", [(1.8, 0.0), (1.3, 0.8)])
def test_draws_under_noise_equal_weighted_draws_of_the_prior(y):
    noise = np.array([[0.04, 0.0], [0.03, 0.08]])
    draws = arm.posterior(np.array(y), 10_000, np.random.default_rng(0), noise)
    assert distances(draws, *weighted_prior(arm, np.array(y), noise, 500_000)).max() < 4


@pytest.mark.parametrize("end", [2.0, -2.5])
def test_a_place_beyond_the_arm_is_refused(refused, end):
    with refused("cannot reach", str(end)):
        arm.posterior(np.array([end, 0.0]), 10, np.random.default_rng(0), None)
