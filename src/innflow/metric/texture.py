"""Differences between neighbouring pixels: what the likelihood of a flow is mostly made of."""

from __future__ import annotations

import numpy as np

from innflow.errors import InnflowError

BLOCK = 256


def count_differences(images: np.ndarray, levels: int = 256) -> np.ndarray:
    """Count the differences to the left and to the upper neighbour in each image, all channels.

    Args:
        images: (N, C, H, W) whole grey levels from 0 to `levels` - 1.
        levels: number of grey levels.

    Returns:
        (N, 2 * levels - 1) counts of the differences from 1 - levels to levels - 1.

    Raises:
        InnflowError: where an image has a single pixel, or a value is out of range.
    """
    if images.shape[2] < 2 and images.shape[3] < 2:
        raise InnflowError("neighbour differences: images of one pixel have no neighbours")
    width = 2 * levels - 1
    counts = np.empty((len(images), width), dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        pixels = images[start : start + BLOCK].astype(np.int64)
        if pixels.min() < 0 or pixels.max() >= levels:
            raise InnflowError(
                f"neighbour differences: grey levels {pixels.min()} to {pixels.max()}: takes whole "
                f"levels from 0 to {levels - 1}"
            )
        across = (pixels[..., 1:] - pixels[..., :-1]).reshape(len(pixels), -1)
        down = (pixels[..., 1:, :] - pixels[..., :-1, :]).reshape(len(pixels), -1)
        place = np.concatenate([across, down], axis=1) + levels - 1
        place += width * np.arange(len(pixels))[:, None]
        found = np.bincount(place.ravel(), minlength=width * len(pixels))
        counts[start : start + BLOCK] = found.reshape(len(pixels), width)
    return counts


def difference_density(counts: np.ndarray) -> np.ndarray:
    """Return the share of each difference in all images together, (2 * levels - 1,).

    Half a count is added to each, so that a difference which never occurs has a density too
    (Jeffreys' prior).
    """
    pooled = counts.sum(axis=0) + 0.5
    return pooled / pooled.sum()


def mean_log_density(counts: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Return for each image the mean log density of its differences, (N,) in nats."""
    return counts @ np.log(density) / counts.sum(axis=1)


def mean_absolute_difference(counts: np.ndarray) -> np.ndarray:
    """Return for each image the mean size of its differences, (N,) in grey levels."""
    reach = counts.shape[1] // 2
    return counts @ np.abs(np.arange(-reach, reach + 1)) / counts.sum(axis=1)
