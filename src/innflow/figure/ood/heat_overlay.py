"""Anomaly maps as heat over the image, next to the image."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from innflow.figure.mosaic import FONT, GAP, blank, paste, show, text_width, whole_factor
from innflow.figure.style import HEAT, style

OPACITY = 0.6
"""Weight of the heat in the mixture with the grey image."""
BETWEEN = 16
BAR = 150
INSET = 12


@style()
def plot_anomaly_maps(
    pictures: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    labels: Sequence[str],
    limits: tuple[float, float],
    unit: str,
    marks: Sequence[tuple[float, str]] = (),
) -> Figure:
    """Draw rows of images, each with its map over it to its right, on one colour scale.

    Args:
        pictures: for each row (n, C, H, W) uint8, C 1 or 3.
        maps: for each row (n, h, w), brought to H x W by bilinear interpolation.
        labels: one for each row.
        limits: values of the first and the last colour; values beyond are clipped.
        unit: label of the colour bar, with the unit.
        marks: values marked on the colour bar, each with its text.
    """
    height, width = pictures[0].shape[2:]
    factor = whole_factor(pictures[0])
    tall, wide = height * factor, width * factor
    pair = 2 * wide + GAP
    left = GAP + text_width("\n".join(labels)) + 12
    count = max(len(row) for row in pictures)
    right = left + count * (pair + BETWEEN) - BETWEEN
    full_width, full_height = right + BAR, GAP + len(pictures) * (tall + GAP)
    canvas = blank(full_height, full_width)
    for row, (images, values) in enumerate(zip(pictures, maps, strict=True)):
        y = GAP + row * (tall + GAP)
        for column, (image, heat) in enumerate(zip(images, values, strict=True)):
            x = left + column * (pair + BETWEEN)
            paste(canvas, image, x, y, factor)
            paste(canvas, _overlay(image, heat, limits), x + wide + GAP, y, factor)
    figure, axis = show(canvas)
    for row, label in enumerate(labels):
        y = GAP + row * (tall + GAP) + tall / 2
        axis.text(left - 10, y, label, ha="right", va="center", linespacing=1.3)

    inset = INSET / full_height
    place = ((right + 36) / full_width, inset, 12 / full_width, 1 - 2 * inset)
    # The colours of the bar are those over mid-grey.
    shades = _mix(np.full((256, 3), 127.5), colormaps[HEAT](np.arange(256))[:, :3] * 255) / 255
    mappable = ScalarMappable(Normalize(*limits), ListedColormap(shades))
    bar = figure.colorbar(mappable, cax=figure.add_axes(place))
    bar.outline.set_visible(False)
    bar.set_label(unit, fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 1)
    for value, text in marks:
        if limits[0] < value < limits[1]:
            bar.ax.axhline(value, color="white", linewidth=1.2)
            bar.ax.text(-0.4, value, text, ha="right", va="center", fontsize=FONT - 2, rotation=90)
    return figure


def _overlay(picture: np.ndarray, heat: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return the grey image under the colours of a map, (3, H, W) uint8."""
    values = torch.from_numpy(np.asarray(heat, dtype=np.float32))[None, None]
    fine = interpolate(values, size=picture.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    low, high = limits
    shares = np.clip((fine.numpy() - low) / (high - low), 0, 1)
    colors = colormaps[HEAT](shares)[..., :3] * 255
    grey = picture.astype(np.float64).mean(axis=0)[..., None]
    return np.rint(_mix(grey, colors)).astype(np.uint8).transpose(2, 0, 1)


def _mix(under: np.ndarray, over: np.ndarray) -> np.ndarray:
    return (1 - OPACITY) * under + OPACITY * over
