"""Anomaly maps as heat over the image, next to the image."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from innflow.figure.image_rows import TARGET, plot_image_rows
from innflow.figure.style import HEAT, style

UNIT = "contribution to -log p (nats)"
OPACITY = 0.6
"""Weight of the heat in the mixture with the grey image."""
MARGIN = 140
"""Width of the colour bar with its labels, in pixels of the figure."""


@style()
def plot_anomaly_maps(
    pictures: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    labels: Sequence[str],
    limits: tuple[float, float],
    unit: str,
    target: int = TARGET,
) -> Figure:
    """Draw rows of images, each with its map over it to its right, on one colour scale.

    Args:
        pictures: for each row (n, C, H, W) uint8, C 1 or 3.
        maps: for each row (n, h, w), brought to H x W by bilinear interpolation.
        labels: one for each row.
        limits: values of the first and the last colour; values beyond are clipped.
        unit: label of the colour bar, with the unit.
        target: approximate size of an image, in pixels of the figure.
    """
    rows = []
    for images, heats in zip(pictures, maps, strict=True):
        colored = images if images.shape[1] == 3 else images.repeat(3, axis=1)
        pairs = [
            tile
            for image, heat in zip(colored, heats, strict=True)
            for tile in (image, overlay(image, heat, limits))
        ]
        rows.append(np.stack(pairs))
    figure = plot_image_rows(rows, labels, group=2, margin=MARGIN, target=target)
    width = figure.get_figwidth() * figure.dpi
    place = ((width - MARGIN + 20) / width, 0.04, 12 / width, 0.92)
    # The colours of the bar are those over mid-grey.
    shades = _mix(np.full((256, 3), 127.5), colormaps[HEAT](np.arange(256))[:, :3] * 255) / 255
    mappable = ScalarMappable(Normalize(*limits), ListedColormap(shades))
    bar = figure.colorbar(mappable, cax=figure.add_axes(place), label=unit)
    bar.outline.set_visible(False)
    return figure


def choose_limits(reference: np.ndarray, shown: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the 1% quantile of the reference maps and the 99.5% quantile of the maps shown."""
    low = float(np.quantile(reference, 0.01))
    high = float(np.quantile(np.concatenate([values.ravel() for values in shown]), 0.995))
    return low, max(high, low + 1e-6)


def overlay(picture: np.ndarray, heat: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return the grey image under the colours of a map, (3, H, W) uint8."""
    values = torch.from_numpy(np.asarray(heat, dtype=np.float32))[None, None]
    fine = interpolate(values, size=picture.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    colors = colormaps[HEAT](Normalize(*limits, clip=True)(fine.numpy()))[..., :3] * 255
    grey = picture.astype(np.float64).mean(axis=0)[..., None]
    return np.rint(_mix(grey, colors)).astype(np.uint8).transpose(2, 0, 1)


def _mix(under: np.ndarray, over: np.ndarray) -> np.ndarray:
    return (1 - OPACITY) * under + OPACITY * over
