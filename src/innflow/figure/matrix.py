"""Matrices as heat maps with their numbers: correlations and confusion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from innflow.figure.style import new_figure, style

SHARES = LinearSegmentedColormap.from_list("innflow_shares", ["#FFFFFF", "#56B4E9", "#003F73"])
WRITTEN = 24
"""Largest number of rows of a matrix with numbers in the cells."""


@style()
def plot_correlations(matrix: np.ndarray, names: Sequence[str], label: str) -> Figure:
    """Draw a symmetric matrix of correlations.

    Args:
        matrix: (S, S) from -1 to 1; NaN is left white.
        names: of the rows and columns.
        label: of the colour bar.
    """
    side = 0.9 + 0.42 * len(names) + 0.06 * max(map(len, names))
    figure, (axis,) = new_figure(height=side, width=side + 1.0)
    texts = [[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in matrix]
    image = _draw(axis, matrix, texts, names, cmap="RdBu_r", vmin=-1, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.7, pad=0.02, label=label)
    return figure


@style()
def plot_confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a confusion matrix (C, C), true classes by row, coloured by the share of the class."""
    side = float(np.clip(0.45 * len(names) + 1.3, 2.8, 7.0))
    figure, (axis,) = new_figure(height=side, width=side + 0.7)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    texts = [[f"{value:,}" if value else "" for value in row] for row in matrix]
    # A square-root scale keeps rare mistakes visible.
    image = _draw(axis, shares, texts, names, cmap=SHARES, norm=PowerNorm(0.5, 0, 1))
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_title(f"{np.trace(matrix):,} of {matrix.sum():,} right")
    label = "share of the true class"
    bar = figure.colorbar(image, ax=axis, shrink=0.7, pad=0.02, label=label)
    bar.set_ticks([0, 0.1, 0.5, 1])
    return figure


def _draw(
    axis: Axes, values: np.ndarray, texts: list[list[str]], names: Sequence[str], **options: Any
) -> AxesImage:
    image = axis.imshow(values, **options)
    count = len(names)
    size = 8.0 if count <= WRITTEN else 5.5
    rotation = 0 if max(map(len, names)) <= 3 else 90
    axis.set_xticks(range(count), list(names), rotation=rotation, fontsize=size)
    axis.set_yticks(range(count), list(names), fontsize=size)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for row, column in np.argwhere(np.array(texts) != "") if count <= WRITTEN else ():
        shade = np.mean(image.cmap(image.norm(values[row, column]))[:3])
        color = "white" if shade < 0.55 else "#222222"
        text = texts[row][column]
        axis.text(column, row, text, ha="center", va="center", color=color, fontsize=6.5)
    return image
