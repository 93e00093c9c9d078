import numpy as np
import pytest

from innflow.metric import edge_correlation, neighbour_correlation

RNG = np.random.default_rng(0)


def square():
    picture = np.zeros((1, 1, 16, 16))
    picture[..., 4:12, 4:12] = 200
    return picture


def test_an_outline_correlates_with_edges_whatever_its_sign():
    down, across = np.gradient(square()[0, 0])
    outline = np.hypot(down, across)[None, None]
    assert edge_correlation(outline, square()) == pytest.approx(1)
    assert edge_correlation(-outline, square()) == pytest.approx(1)
    assert abs(edge_correlation(RNG.normal(size=(1, 1, 16, 16)), square())[0]) < 0.25


def test_a_picture_without_edges_has_no_correlation_with_them():
    assert np.isnan(edge_correlation(RNG.normal(size=(1, 3, 8, 8)), np.ones((1, 3, 8, 8))))


def test_neighbours_agree_in_a_smooth_picture_and_not_in_noise():
    ramp = np.broadcast_to(np.arange(32.0), (1, 2, 32, 32))
    noise = RNG.normal(size=(1, 3, 64, 64))
    smooth, rough = neighbour_correlation(ramp)[0], neighbour_correlation(noise)[0]
    assert smooth > 0.99
    assert abs(rough) < 0.03
    checkered = np.indices((1, 1, 8, 8)).sum(axis=0) % 2 * 2.0 - 1
    assert neighbour_correlation(checkered) == pytest.approx(-1)
    assert np.isnan(neighbour_correlation(np.ones((1, 1, 4, 4))))
