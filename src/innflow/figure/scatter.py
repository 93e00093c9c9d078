"""Scatter plots of two numbers of every item, coloured by set."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from innflow.figure.style import draw_points, legend_below, new_panels, style

MOST_SHOWN = 600


class Cloud(NamedTuple):
    """Points of one panel.

    Attributes:
        x: set -> (N,).
        y: set -> (N,).
        xlabel: with its unit.
        ylabel: with its unit.
        title: of the panel.
        diagonal: whether to draw y = x.
    """

    x: Mapping[str, np.ndarray]
    y: Mapping[str, np.ndarray]
    xlabel: str
    ylabel: str
    title: str = ""
    diagonal: bool = False


@style()
def plot_clouds(panels: list[Cloud], colors: Mapping[str, str]) -> Figure:
    """Draw scatter plots side by side with one legend.

    At most 600 items of a set are drawn; at most 1% of the items are outside the limits of an axis.

    Args:
        panels: at least one.
        colors: set -> colour.
    """
    columns = min(3, len(panels))
    width = max(5.0, (3.2 if columns < 3 else 2.5) * columns)
    figure, axes = new_panels(len(panels), columns, 2.5, width, extra=0.45)
    for axis, panel in zip(axes, panels, strict=True):
        draw_cloud(axis, panel, colors)
    legend_below(figure, axes[0], int(width), markerscale=1.8)
    return figure


def draw_cloud(axis: Axes, panel: Cloud, colors: Mapping[str, str]) -> None:
    """Draw one panel."""
    for name, x in panel.x.items():
        step = -(-len(x) // MOST_SHOWN)
        points = np.stack([x[::step], panel.y[name][::step]], axis=1)
        draw_points(axis, points, s=6, color=colors[name], alpha=0.5, label=name)
    low_x, high_x = _reach(panel.x)
    low_y, high_y = _reach(panel.y)
    if panel.diagonal:
        low, high = min(low_x, low_y), max(high_x, high_y)
        axis.plot([low, high], [low, high], color="#9AA3AD", linewidth=0.8, zorder=0)
    axis.set(xlim=(low_x, high_x), ylim=(low_y, high_y))
    axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.grid(True)


def _reach(values: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return limits that exclude at most half a percent of the items at each end."""
    pooled = np.concatenate([v[np.isfinite(v)] for v in values.values()])
    low, high = np.quantile(pooled, [0.005, 0.995])
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
