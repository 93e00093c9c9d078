"""Curves in small panels that share their legend."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from innflow.figure.style import DASHED, legend_below, new_panels, style


@style()
def plot_curves(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    x: Sequence[float] | np.ndarray,
    colors: Mapping[str, str],
    labels: tuple[str, str],
    level: float | None = None,
    log: str = "",
) -> Figure:
    """Draw several curves over one x, panel by panel.

    Args:
        panels: title -> name of the curve -> (K,).
        x: (K,).
        colors: name of the curve -> colour.
        labels: of the two axes.
        level: y of a dashed line.
        log: "x" for a log axis with a tick at each x, and y from 0 to 1; "y" for a log axis of y.
    """
    columns = len(panels) if len(panels) < 4 else min(4, -(-len(panels) // 2))
    width = max(5.0, 0.4 + 1.75 * columns)
    figure, axes = new_panels(len(panels), columns, 1.75, width, extra=0.6)
    marker = "o" if log == "x" else None
    for position, (axis, (title, curves)) in enumerate(zip(axes, panels.items(), strict=True)):
        if level is not None:
            axis.axhline(level, **DASHED)
        for name, y in curves.items():
            axis.plot(x, y, color=colors[name], label=name, marker=marker, markersize=3)
        axis.set_title(fill(title, 24))
        axis.grid(True)
        if log == "x":
            axis.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1], xscale="log")
            axis.set_xticks(list(x), [f"{value:g}" for value in x])
            axis.minorticks_off()
        else:
            axis.xaxis.set_major_locator(MaxNLocator(5))
        if log == "y":
            axis.set_yscale("log")
        if position % columns == 0:
            axis.set_ylabel(labels[1])
        if position >= len(panels) - columns:
            axis.set_xlabel(labels[0])
    legend_below(figure, axes[0], int(width))
    return figure
