"""Pictures with the amplitudes of one image and phases on the way to those of another."""

from __future__ import annotations

import numpy as np


def swap_phases(amplitude: np.ndarray, phase: np.ndarray, share: float) -> np.ndarray:
    """Return images with the amplitudes of one and phases between those of both.

    Re F^-1(|F(x)| exp(i ((1 - a) arg F(x) + a arg F(y)))), channel by channel: a = 0 gives x, and
    a = 1 the amplitudes of x with the phases of y (Oppenheim and Lim, 1981).

    Args:
        amplitude: (N, C, H, W) images x, any units.
        phase: (N, C, H, W) images y.
        share: a, from 0 to 1.

    Returns:
        (N, C, H, W) floats, neither rounded nor clipped.
    """
    x, y = np.fft.fft2(amplitude), np.fft.fft2(phase)
    angle = (1 - share) * np.angle(x) + share * np.angle(y)
    return np.fft.ifft2(np.abs(x) * np.exp(1j * angle)).real
