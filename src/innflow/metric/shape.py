"""How much of a picture's shape is left in maps of its size."""

from __future__ import annotations

import numpy as np

from innflow.metric.correlation import pearson


def edge_strength(images: np.ndarray) -> np.ndarray:
    """Return the length of the gradient of the grey picture, (N, H, W), by central differences."""
    grey = images.mean(axis=1, dtype=np.float64)
    down, across = np.gradient(grey, axis=(1, 2))
    return np.hypot(down, across)


def edge_correlation(maps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Correlate the size of maps with the edges of the pictures they belong to, pixel by pixel.

    Args:
        maps: (N, C, H, W) of any sign; their channels are averaged in size.
        images: (N, C, H, W) pictures.

    Returns:
        (N,) correlations; NaN where a picture has no edges.
    """
    size = np.abs(maps).mean(axis=1, dtype=np.float64)
    edges = edge_strength(images)
    return np.array([pearson(a.ravel(), b.ravel()) for a, b in zip(size, edges, strict=True)])


def neighbour_correlation(maps: np.ndarray) -> np.ndarray:
    """Correlate the pixels of each map with their right and lower neighbours.

    Near 1 for a smooth picture, near 0 for white noise.

    Args:
        maps: (N, C, H, W).

    Returns:
        (N,) correlations over all channels; NaN where all pixels are equal.
    """
    centred = maps - maps.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    found = []
    for one in centred:
        here = np.concatenate([one[:, :, :-1].ravel(), one[:, :-1].ravel()])
        there = np.concatenate([one[:, :, 1:].ravel(), one[:, 1:].ravel()])
        found.append(pearson(here, there))
    return np.array(found)
