"""Curves in small panels that share their legend."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from innflow.figure.style import DASHED, legend_below, new_panels, style


@style()
def plot_curves(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    x: Sequence[float] | np.ndarray,
    colors: Mapping[str, str],
    labels: tuple[str, str],
    level: float | None = None,
    shares: bool = False,
    linear: float | None = None,
) -> Figure:
    """Draw several curves over one x, panel by panel.

    Args:
        panels: title -> name of the curve -> (K,).
        x: (K,).
        colors: name of the curve -> colour.
        labels: of the two axes.
        level: y of a dashed line.
        shares: whether y is from 0 to 1 and x has few values, on a log axis.
        linear: the axis is linear for |y| up to this, logarithmic beyond.
    """
    columns = len(panels) if len(panels) < 4 else min(4, -(-len(panels) // 2))
    width = max(5.0, 0.4 + 1.75 * columns)
    figure, axes = new_panels(len(panels), columns, 1.75, width, extra=0.6)
    marker = "o" if shares else None
    for position, (axis, (title, curves)) in enumerate(zip(axes, panels.items(), strict=True)):
        if level is not None:
            axis.axhline(level, **DASHED)
        for name, y in curves.items():
            axis.plot(x, y, color=colors[name], label=name, marker=marker, markersize=3)
        axis.set_title(fill(title, 24))
        axis.grid(True)
        if shares:
            axis.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1], xscale="log")
            axis.set_xticks(list(x), [f"{value:g}" for value in x])
            axis.minorticks_off()
        else:
            axis.xaxis.set_major_locator(MaxNLocator(5))
        if linear is not None:
            axis.set_yscale("symlog", linthresh=linear)
            axis.yaxis.set_major_locator(FixedLocator(_decades(linear, *axis.get_ylim())))
            axis.yaxis.set_major_formatter("{x:,.0f}")
            axis.minorticks_off()
        if position % columns == 0:
            axis.set_ylabel(labels[1])
        if position >= len(panels) - columns:
            axis.set_xlabel(labels[0])
    legend_below(figure, axes[0], int(width))
    return figure


def _decades(linear: float, low: float, high: float) -> list[float]:
    """Return 0 and the powers of ten times `linear`, of both signs, from low to high."""
    count = int(np.log10(max(-low, high, linear) / linear)) + 1
    sizes = [linear * 10**k for k in range(count)]
    return [tick for tick in [*(-size for size in sizes[::-1]), 0.0, *sizes] if low <= tick <= high]
