"""Differences of neighbouring pixels, and their relation to the likelihood."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from innflow.figure.scatter import Cloud, draw_cloud
from innflow.figure.style import legend_below, new_figure, style


@style()
def plot_texture(
    shares: Mapping[str, np.ndarray], panels: list[Cloud], colors: Mapping[str, str]
) -> Figure:
    """Draw the histogram of differences of each set, and scatter plots of log p.

    Args:
        shares: set -> share of each difference, (2 * levels - 1,), ascending; zeros are left out.
        panels: of the scatter plots.
        colors: set -> colour.
    """
    figure, axes = new_figure(1, 1 + len(panels), height=3.1, width=2.5 * (1 + len(panels)))
    axis = axes[0]
    reach = len(next(iter(shares.values()))) // 2
    steps = np.arange(-reach, reach + 1)
    largest = 1
    for name, share in shares.items():
        occurred = np.where(share > 0, share, np.nan)
        axis.plot(steps, occurred, color=colors[name], linewidth=1.1, label=name)
        largest = max(largest, int(np.abs(steps[share > 0]).max()))
    axis.set(yscale="log", xlim=(-largest - 1, largest + 1))
    axis.set(xlabel="difference, grey levels", ylabel="share", title="neighbour differences")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.grid(True)
    for panel, place in zip(panels, axes[1:], strict=True):
        draw_cloud(place, panel, colors)
    legend_below(figure, axis, 7)
    return figure
