"""What describes a posterior, on draws whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

from innflow.metric.summary import compute_summary, find_densest


def test_moments_and_quantiles_of_a_normal_law():
    draws = np.random.default_rng(0).normal([1.0, -5.0], [2.0, 0.1], (200_000, 2))
    summary = compute_summary(draws.astype(np.float32), log_prob=-(draws[:, 0] ** 2))
    np.testing.assert_allclose(summary.mean, [1, -5], atol=0.02)
    np.testing.assert_allclose(summary.sd, [2, 0.1], rtol=0.01)
    expected = 1 + 2 * np.array([-1.96, -0.9945, 0, 0.9945, 1.96])
    np.testing.assert_allclose(summary.quantiles[:, 0], expected, atol=0.03)
    assert summary.quantiles.shape == (5, 2)
    assert abs(summary.mode[0]) < 1e-3  # where the density that was given is highest


def test_a_density_that_is_no_number_is_refused(refused):
    with refused("log_prob of 1 draws"):
        compute_summary(np.zeros((3, 1)), log_prob=np.array([0, np.nan, 1.0]))


def test_the_densest_draw_is_near_the_higher_of_two_modes():
    """The lower mode holds as many draws, and half the parameters have other units."""
    rng = np.random.default_rng(0)
    narrow = rng.normal([3.0, 0.0], 0.3, (4000, 2))
    broad = rng.normal([-3.0, 0.0], 1.0, (4000, 2))
    draws = rng.permutation(np.concatenate([broad, narrow])) * [1.0, 1e6]
    x, y = draws[find_densest(draws)]
    assert abs(x - 3) < 0.15
    assert abs(y / 1e6) < 0.15


def test_the_densest_draw_does_not_depend_on_the_coordinates():
    rng = np.random.default_rng(0)
    draws = rng.exponential(1.0, (2000, 3))
    turned = draws @ rng.normal(size=(3, 3)) + 7
    assert find_densest(turned) == find_densest(draws)
    assert draws[find_densest(draws)].max() < 0.5  # the mode of the law is at the origin


@pytest.mark.parametrize("draws", [np.ones((1, 2)), np.ones((50, 2))])
def test_draws_that_do_not_differ(draws):
    assert find_densest(draws) == 0


def test_a_constant_parameter_is_left_out_of_the_distances():
    rng = np.random.default_rng(0)
    draws = np.column_stack([rng.normal(size=500), np.full(500, 2.0)])
    assert abs(draws[find_densest(draws), 0]) < 0.5
