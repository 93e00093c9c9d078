"""Images made of numbers: signed maps in grey or in colours, and frames around images."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

DIVERGING = "RdBu_r"
FRAME = 4


def map_limit(maps: np.ndarray) -> float:
    """Return the 99.5% quantile of the absolute values other than 0, to limit a colour scale."""
    sizes = np.abs(maps[maps != 0])
    return float(np.quantile(sizes, 0.995)) if sizes.size else 0.0


def signed_pixels(values: np.ndarray, limit: float) -> np.ndarray:
    """Return values as uint8 grey levels: 0 is mid-grey, clipped to -limit and limit."""
    return np.rint(255 * _shares(values, limit)).astype(np.uint8)


def diverging_pixels(values: np.ndarray, limit: float) -> np.ndarray:
    """Return maps (..., H, W) as colours (..., 3, H, W) uint8: blue below 0, red above."""
    colors = colormaps[DIVERGING](_shares(values, limit), bytes=True)[..., :3]
    return np.moveaxis(colors, -1, -3)


def add_frames(pictures: np.ndarray, colors: Sequence[str], size: int = 64) -> np.ndarray:
    """Return images (N, C, H, W) uint8, enlarged to about a size, in coloured frames.

    The result is (N, 3, H', W'); the enlargement is by a whole factor.
    """
    factor = max(1, round(size / max(pictures.shape[2:])))
    count, _, height, width = pictures.shape
    height, width = height * factor, width * factor
    hues = np.rint([np.multiply(to_rgb(color), 255) for color in colors]).astype(np.uint8)
    framed = np.empty((count, 3, height + 2 * FRAME, width + 2 * FRAME), dtype=np.uint8)
    framed[:] = hues[:, :, None, None]
    enlarged = pictures.repeat(factor, axis=2).repeat(factor, axis=3)
    framed[:, :, FRAME : FRAME + height, FRAME : FRAME + width] = enlarged
    return framed


def _shares(values: np.ndarray, limit: float) -> np.ndarray:
    return np.clip(values / (2 * limit or 1.0) + 0.5, 0, 1)
