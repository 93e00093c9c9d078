import numpy as np

from innflow.metric import swap_phases

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
