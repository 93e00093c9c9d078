"""Modes and regions of a classifier in the plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from innflow.figure.style import draw_points, new_figure, style

# The first four colours are those of the eight modes with four labels.
COLORS = (
    *("#D55E00", "#0072B2", "#009E73", "#AA4499", "#E69F00"),
    *("#56B4E9", "#999933", "#661100", "#CC79A7", "#8C95A0"),
)


@style()
def plot_modes(
    samples: np.ndarray,
    labels: np.ndarray,
    centres: np.ndarray,
    names: Sequence[str],
    sigma: float = 0.2,
) -> Figure:
    """Draw samples in the colour of their class, and the true modes.

    Args:
        samples: (N, 2).
        labels: (N,) classes.
        centres: (K, 2) of the true modes, drawn as circles of 2 sigma.
        names: of the classes.
        sigma: standard deviation of a mode.
    """
    figure, (axis,) = new_figure(height=4.2, width=5.4)
    colors = class_colors(len(names))
    # In random order, so that no class covers another.
    order = np.random.default_rng(0).permutation(len(samples))
    draw_points(axis, samples[order], c=colors[labels[order]], s=4, alpha=0.7)
    for centre in centres:
        axis.add_patch(Circle(tuple(centre), 2 * sigma, fill=False, color="#222222", linewidth=0.8))
    reach = float(np.abs(centres).max()) + 6 * sigma
    beyond = int((np.abs(samples).max(1) > reach).sum())
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x₁", ylabel="x₂")
    outside = f", {beyond:,} of them outside the frame" if beyond else ""
    axis.set_title(f"{len(samples):,} samples{outside}; circles: true modes, 2 sigma")
    class_legend(figure, names, "class", marker="o", linestyle="", markersize=4)
    return figure


@style()
def plot_regions(
    probabilities: np.ndarray,
    extent: tuple[float, float, float, float],
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """Draw p(class | x) over the plane as mixtures of the classes' colours, and data on top.

    Args:
        probabilities: (rows, columns, C) on a grid, rows from low to high x₂.
        extent: x₁ low, x₁ high, x₂ low, x₂ high.
        points: (N, 2) data.
        labels: (N,) their true classes.
        names: of the classes.
    """
    figure, (axis,) = new_figure(height=4.2, width=5.4)
    colors = class_colors(len(names))
    mixed = 1 - 0.45 * (1 - probabilities @ colors)
    axis.imshow(mixed.clip(0, 1), extent=extent, origin="lower", interpolation="bilinear")
    draw_points(axis, points, c=colors[labels], s=5, linewidths=0.2, edgecolors="white")
    axis.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xlabel="x₁", ylabel="x₂")
    axis.set_title("p(class | x), and data in the colour of their class")
    class_legend(figure, names, "class", marker="o", linestyle="", markersize=4)
    return figure


def class_colors(count: int) -> np.ndarray:
    """Return a colour (count, 3) for each class; they repeat after ten."""
    return np.array([to_rgb(COLORS[label % len(COLORS)]) for label in range(count)])


def class_legend(figure: Figure, names: Sequence[str], title: str, **line: Any) -> None:
    """Draw a legend of the classes and their colours at the right."""
    handles = [Line2D([], [], color=tuple(color), **line) for color in class_colors(len(names))]
    figure.legend(handles, list(names), loc="outside right center", title=title)
