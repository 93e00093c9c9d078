"""Learning curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from innflow.figure.style import ROLES, new_figure, style

HUES = {"train": ROLES["train"], "val": ROLES["inlier"]}
Curve = tuple[np.ndarray, np.ndarray]


@style()
def plot_learning_curves(panels: Mapping[str, Mapping[str, Curve]], label: str) -> Figure:
    """Draw learning curves against each measure of progress, one panel per measure.

    Args:
        panels: label of the x axis -> name of the curve -> (x, y), each (N,).
        label: of the y axis.
    """
    figure, axes = new_figure(1, len(panels), height=2.8, width=3.6 * len(panels))
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, (x, y) in curves.items():
            marker = "o" if len(x) < 60 else None
            axis.plot(x, y, color=HUES.get(name), label=name, marker=marker, markersize=2.5)
        pooled = np.concatenate([y for _, y in curves.values()])
        # The first values are far higher than the rest: leave them out.
        low, high = np.quantile(pooled, [0.0, 0.97])
        if high > low:
            axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axis.set(xlabel=title, ylabel=label)
        axis.grid(True)
        axis.legend()
    return figure
