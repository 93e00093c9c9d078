"""Where points of the plane move to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from innflow.figure.classification import class_colors
from innflow.figure.style import new_figure, style


@style()
def plot_moves(
    starts: np.ndarray,
    ends: np.ndarray,
    targets: np.ndarray,
    means: np.ndarray,
    names: Sequence[str],
    background: np.ndarray,
) -> Figure:
    """Draw arrows from items to their counterfactuals in the colour of the class they go to.

    Args:
        starts: (N, 2) items.
        ends: (N, 2) where they go.
        targets: (N,) the class that each goes to.
        means: (C, 2) what the mean of each class decodes to.
        names: of the classes.
        background: (M, 2) data, in grey.
    """
    figure, (axis,) = new_figure(height=4.2, width=5.4)
    colors = class_colors(len(names))
    axis.scatter(
        background[:, 0], background[:, 1], s=2, color="#C8CDD2", linewidths=0, rasterized=True
    )
    axis.quiver(
        *starts.T,
        *(ends - starts).T,
        color=colors[targets],
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.003,
        headwidth=5,
        alpha=0.85,
    )
    axis.plot(*starts.T, "o", color="#222222", markersize=3)
    axis.scatter(
        means[:, 0], means[:, 1], marker="*", s=90, c=colors, edgecolors="#222222", linewidths=0.5
    )
    shown = np.concatenate([background, means, ends])
    (left, bottom), (right, top) = shown.min(axis=0), shown.max(axis=0)
    wide, tall = 0.05 * (right - left), 0.05 * (top - bottom)
    axis.set(xlim=(left - wide, right + wide), ylim=(bottom - tall, top + tall))
    axis.set(aspect="equal", xlabel="x₁", ylabel="x₂")
    axis.set_title("same place, another class")
    handles = [Line2D([], [], color=tuple(color), marker=">") for color in colors]
    figure.legend(handles, list(names), loc="outside right center", title="to class")
    return figure
