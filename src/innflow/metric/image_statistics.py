"""Statistics of images: Fourier phases, and differences of neighbouring pixels."""

import numpy as np

from innflow.errors import InnflowError
from innflow.metric.correlation import pearson

BLOCK = 256


def swap_phases(amplitude: np.ndarray, phase: np.ndarray, share: float) -> np.ndarray:
    """Return images with the Fourier amplitudes of x and phases between those of x and y.

    Re F^-1(|F(x)| exp(i ((1 - a) arg F(x) + a arg F(y)))), channel by channel: a = 0 gives x, and
    a = 1 the amplitudes of x with the phases of y (Oppenheim and Lim, 1981).

    Images are (N, C, H, W) in any units; the result is neither rounded nor clipped.

        >>> x, y = np.random.default_rng(0).random((2, 1, 1, 4, 4))
        >>> bool(np.allclose(swap_phases(x, y, share=0), x))
        True
    """
    x, y = np.fft.fft2(amplitude), np.fft.fft2(phase)
    angle = (1 - share) * np.angle(x) + share * np.angle(y)
    return np.fft.ifft2(np.abs(x) * np.exp(1j * angle)).real


def neighbour_correlation(maps: np.ndarray) -> np.ndarray:
    """Compute the correlation of the pixels of each map with their right and lower neighbours.

    Returns (N,) for maps (N, C, H, W), over all channels: near 1 for a smooth image, near 0 for
    white noise, NaN where all pixels are equal.

        >>> float(neighbour_correlation(np.arange(64.0).reshape(1, 1, 8, 8))[0]) > 0.9
        True
    """
    centred = maps - maps.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    found = []
    for one in centred:
        here = np.concatenate([one[:, :, :-1].ravel(), one[:, :-1].ravel()])
        there = np.concatenate([one[:, :, 1:].ravel(), one[:, 1:].ravel()])
        found.append(pearson(here, there))
    return np.array(found)


def count_differences(images: np.ndarray, levels: int = 256) -> np.ndarray:
    """Count the differences of the pixels of each image to their left and upper neighbours.

    Images are (N, C, H, W) of whole grey levels from 0 to `levels` - 1. The counts over all
    channels of the differences 1 - levels to levels - 1 are (N, 2 * levels - 1).

        >>> count_differences(np.array([[[[0, 1], [1, 0]]]]), levels=2)
        array([[2, 0, 2]])

    Raises:
        InnflowError: if an image has a single pixel, or a value is out of range.
    """
    if images.shape[2] < 2 and images.shape[3] < 2:
        raise InnflowError("neighbour differences: images of one pixel have no neighbours")
    width = 2 * levels - 1
    counts = np.empty((len(images), width), dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        pixels = images[start : start + BLOCK].astype(np.int64)
        if pixels.min() < 0 or pixels.max() >= levels:
            raise InnflowError(
                f"neighbour differences: grey levels {pixels.min()} to {pixels.max()}: must be "
                f"from 0 to {levels - 1}"
            )
        across = (pixels[..., 1:] - pixels[..., :-1]).reshape(len(pixels), -1)
        down = (pixels[..., 1:, :] - pixels[..., :-1, :]).reshape(len(pixels), -1)
        place = np.concatenate([across, down], axis=1) + levels - 1
        place += width * np.arange(len(pixels))[:, None]
        found = np.bincount(place.ravel(), minlength=width * len(pixels))
        counts[start : start + BLOCK] = found.reshape(len(pixels), width)
    return counts


def difference_density(counts: np.ndarray) -> np.ndarray:
    """Estimate the probability of each difference over all images, (2 * levels - 1,).

    Half a count is added to each, so that no probability is zero (Jeffreys' prior).

        >>> difference_density(np.array([[2, 0, 1]])).round(3)
        array([0.556, 0.111, 0.333])
    """
    pooled = counts.sum(axis=0) + 0.5
    return pooled / pooled.sum()


def mean_log_density(counts: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Compute the mean log probability of the differences of each image, (N,) in nats.

    >>> mean_log_density(np.array([[2, 0, 2]]), np.array([0.5, 0.0001, 0.5])).round(3)
    array([-0.693])
    """
    return counts @ np.log(density) / counts.sum(axis=1)


def mean_absolute_difference(counts: np.ndarray) -> np.ndarray:
    """Compute the mean absolute difference of neighbouring pixels, (N,) in grey levels.

    >>> mean_absolute_difference(np.array([[2, 0, 2]]))
    array([1.])
    """
    reach = counts.shape[1] // 2
    return counts @ np.abs(np.arange(-reach, reach + 1)) / counts.sum(axis=1)
