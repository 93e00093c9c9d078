"""Latent vectors in two dimensions."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from innflow.figure.style import CYCLE, OUTLIERS, draw_points, new_figure, style

# The sets differ in markers and in colours, for prints in grey.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@style()
def plot_latent(
    points: Mapping[str, np.ndarray], colors: Mapping[str, str], labels: tuple[str, str]
) -> Figure:
    """Draw the points (N, 2) of each set, the last on top, and its mean as a large marker."""
    figure, (axis,) = new_figure(height=4.4, width=6.0)
    limits = _limits(np.concatenate(list(points.values())))
    for (name, cloud), marker in zip(points.items(), cycle(MARKERS), strict=False):
        size, alpha = (9, 0.55) if len(cloud) < 800 else (5, 0.35)
        own: dict[str, Any] = {"color": colors[name], "marker": marker}
        draw_points(axis, cloud, s=size, alpha=alpha, label=f"{name} ({len(cloud):,})", **own)
        mean = cloud.mean(axis=0, keepdims=True)
        draw_points(axis, mean, s=70, edgecolors="white", linewidths=1.2, zorder=5, **own)
    _finish(axis, limits, labels)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=1.8, handlelength=1)
    return figure


@style()
def plot_clusters(
    cloud: np.ndarray, clusters: Sequence[np.ndarray], pictures: np.ndarray, labels: tuple[str, str]
) -> Figure:
    """Draw the copies of a few images as clusters, over other points in grey.

    Args:
        cloud: (N, 2) other points, for scale.
        clusters: for each image its copies, (M, 2); the first of them is the image itself.
        pictures: (K, C, H, W) uint8, drawn at the edge in frames of their clusters' colours.
        labels: of the two axes.
    """
    figure, (axis, strip) = new_figure(1, 2, height=4.4, width=6.6, ratios=(7, 1))
    draw_points(axis, cloud, s=5, color="#C9CED4")
    hues = [*CYCLE, *OUTLIERS[3:]]
    for copies, hue in zip(clusters, cycle(hues), strict=False):
        draw_points(axis, copies, s=13, color=hue, alpha=0.65)
        star = {"marker": "*", "edgecolors": "black", "linewidths": 0.6}
        draw_points(axis, copies[:1], s=60, color=hue, **star)
    _finish(axis, _limits(np.concatenate([cloud, *clusters])), labels)
    strip.set(xlim=(0, 1), ylim=(len(pictures), 0))
    strip.set_axis_off()
    for index, picture in enumerate(pictures):
        image = picture.transpose(1, 2, 0)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        box = AnnotationBbox(
            OffsetImage(image, zoom=34 / image.shape[0], resample=False),
            (0.5, index + 0.5),
            frameon=True,
            pad=0.12,
            bboxprops={"edgecolor": hues[index % len(hues)], "linewidth": 2.2},
        )
        strip.add_artist(box)
    return figure


def _limits(points: np.ndarray) -> np.ndarray:
    """Return limits (2, 2) that exclude at most half a percent of the points on each side."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    margin = 0.08 * (high - low) + 1e-9
    return np.stack([low - margin, high + margin])


def _finish(axis: Axes, limits: np.ndarray, labels: tuple[str, str]) -> None:
    axis.set(xlim=limits[:, 0], ylim=limits[:, 1], xlabel=labels[0], ylabel=labels[1])
    axis.grid(True)
