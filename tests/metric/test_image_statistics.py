"""Phases and differences of neighbouring pixels, on images made for it."""

import numpy as np
import pytest

from innflow.metric import (
    count_differences,
    difference_density,
    mean_absolute_difference,
    mean_log_density,
    neighbour_correlation,
    swap_phases,
)

X, Y = np.random.default_rng(0).integers(0, 256, size=(2, 6, 3, 8, 6)).astype(float)


def test_the_walk_begins_at_the_image_that_gives_the_amplitudes():
    np.testing.assert_allclose(swap_phases(X, Y, 0.0), X, atol=1e-9)


def test_the_end_has_the_amplitudes_of_one_and_the_phases_of_the_other():
    spectrum = np.fft.fft2(swap_phases(X, Y, 1.0))
    first, second = np.fft.fft2(X), np.fft.fft2(Y)
    np.testing.assert_allclose(np.abs(spectrum), np.abs(first), atol=1e-8)
    # Angles modulo 2 pi: the spectrum is a positive multiple of the other's.
    np.testing.assert_allclose(spectrum / np.abs(spectrum), second / np.abs(second), atol=1e-8)


def test_an_image_mixed_with_itself_stays():
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(swap_phases(X, X, share), X, atol=1e-9)


RNG = np.random.default_rng(0)


def square():
    picture = np.zeros((1, 1, 16, 16))
    picture[..., 4:12, 4:12] = 200
    return picture


def test_neighbours_agree_in_a_smooth_picture_and_not_in_noise():
    ramp = np.broadcast_to(np.arange(32.0), (1, 2, 32, 32))
    noise = RNG.normal(size=(1, 3, 64, 64))
    smooth, rough = neighbour_correlation(ramp)[0], neighbour_correlation(noise)[0]
    assert smooth > 0.99
    assert abs(rough) < 0.03
    checkered = np.indices((1, 1, 8, 8)).sum(axis=0) % 2 * 2.0 - 1
    assert neighbour_correlation(checkered) == pytest.approx(-1)
    assert np.isnan(neighbour_correlation(np.ones((1, 1, 4, 4))))


def test_an_image_of_known_differences():
    image = np.array([[[[10, 13], [10, 250]]]], dtype=np.uint8)
    counts = count_differences(image)
    # To the left: 3 and 240; to the upper neighbour: 0 and 237.
    assert counts.shape == (1, 511)
    assert {int(i) - 255: int(counts[0, i]) for i in np.flatnonzero(counts[0])} == {
        **{3: 1, 240: 1, 0: 1, 237: 1}
    }
    assert mean_absolute_difference(counts) == pytest.approx((3 + 240 + 237) / 4)


def test_counts_are_those_of_a_loop_over_blocks_and_channels():
    images = np.random.default_rng(0).integers(0, 4, size=(300, 2, 3, 5), dtype=np.uint8)
    counts = count_differences(images, levels=4)
    exact = np.zeros((300, 7), dtype=int)
    for n, picture in enumerate(images.astype(int)):
        steps = [*np.diff(picture, axis=1).ravel(), *np.diff(picture, axis=2).ravel()]
        for step in steps:
            exact[n, step + 3] += 1
    np.testing.assert_array_equal(counts, exact)


def test_the_density_is_that_of_the_pooled_counts_with_half_a_count_more():
    counts = np.array([[0, 3, 1], [2, 0, 0]])
    density = difference_density(counts)
    np.testing.assert_allclose(density, np.array([2.5, 3.5, 1.5]) / 7.5)
    expected = [(3 * np.log(3.5 / 7.5) + np.log(1.5 / 7.5)) / 4, np.log(2.5 / 7.5)]
    np.testing.assert_allclose(mean_log_density(counts, density), expected)


def test_smooth_images_have_a_higher_density_under_smooth_ones():
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8), (5, 1, 8, 8))
    noise = np.random.default_rng(0).integers(0, 256, size=(5, 1, 8, 8), dtype=np.uint8)
    density = difference_density(count_differences(ramp))
    smooth, rough = (mean_log_density(count_differences(x), density) for x in (ramp, noise))
    assert smooth.min() > rough.max()


def test_pixels_without_neighbours_and_levels_out_of_range_are_refused(refused):
    with refused("one pixel"):
        count_differences(np.zeros((2, 3, 1, 1), dtype=np.uint8))
    with refused("0 to 5", "0 to 3"):
        count_differences(np.array([[[[0, 5]]]], dtype=np.uint8), levels=4)
