"""Images on one raster, on which each pixel is a square of whole width."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from innflow.figure.style import DPI

GAP = 4
TARGET = 96
FONT = 8.5
DIVERGING = "RdBu_r"


def whole_factor(picture: np.ndarray, target: int = TARGET) -> int:
    """Return the whole factor that enlarges images (..., H, W) to about a size in pixels."""
    return max(1, round(target / max(picture.shape[-2:])))


def text_width(label: str, size: float = FONT) -> int:
    """Return the approximate width in pixels of the longest line of a label."""
    return round(max((len(line) for line in label.split("\n")), default=0) * size * 0.6 * DPI / 72)


def blank(height: int, width: int) -> np.ndarray:
    """Return a white canvas (height, width, 3) uint8."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def paste(
    canvas: np.ndarray, picture: np.ndarray, x: int, y: int, factor: int, frame: str | None = None
) -> None:
    """Draw an enlarged image on the canvas, with a frame of 4 pixels if it has a colour.

    Args:
        canvas: (height, width, 3) uint8, written to.
        picture: (C, H, W) uint8, C 1 or 3.
        x: left edge of the image.
        y: upper edge of the image.
        factor: each pixel becomes a square of this side.
        frame: colour of the frame; None for no frame.
    """
    pixels = picture.transpose(1, 2, 0)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = pixels.shape[:2]
    if frame is not None:
        color = np.rint(255 * np.array(to_rgb(frame))).astype(np.uint8)
        canvas[y - 4 : y + height + 4, x - 4 : x + width + 4] = color
    canvas[y : y + height, x : x + width] = pixels


def show(canvas: np.ndarray) -> tuple[Figure, Axes]:
    """Return a figure of the size of the canvas, and axes in its pixels from the top left."""
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(canvas, extent=(0, width, height, 0), interpolation="none")
    axis.set_axis_off()
    return figure, axis


def signed_pixels(values: np.ndarray, limit: float) -> np.ndarray:
    """Return values as uint8 grey levels: 0 is mid-grey, clipped to -limit and limit."""
    shares = np.clip(values / (2 * limit or 1.0) + 0.5, 0, 1)
    return np.rint(255 * shares).astype(np.uint8)


def diverging_pixels(values: np.ndarray, limit: float) -> np.ndarray:
    """Return maps (..., H, W) as colours (..., 3, H, W) uint8: blue below 0, red above."""
    shares = np.clip(values / (2 * limit or 1.0) + 0.5, 0, 1)
    colors = colormaps[DIVERGING](shares, bytes=True)[..., :3]
    return np.moveaxis(colors, -1, -3)


def diverging_bar(width: int, height: int) -> np.ndarray:
    """Return the colours of `diverging_pixels` from -limit to limit, (height, width, 3) uint8."""
    row = diverging_pixels(np.linspace(-1, 1, width)[None], 1.0)[:, 0].T
    return np.repeat(row[None], height, axis=0)
