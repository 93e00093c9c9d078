"""Marginal densities of posterior draws, of single parameters and of pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from innflow.errors import InnflowError
from innflow.figure.posterior.profile import DRAWS, REFERENCE, TRUTH, legend_handles
from innflow.figure.style import new_figure, style

MOST_PAIRS = 8
SHARES = (0.68, 0.95)
"""Shares of the draws inside the contours."""
CELLS = 48


@style()
def plot_pairs(
    draws: np.ndarray,
    names: Sequence[str],
    reference: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    limits: np.ndarray | None = None,
) -> Figure:
    """Draw the density of each parameter, and for each pair the regions of 68% and 95% mass.

    Args:
        draws: (n, P) with P at most 8.
        names: of the P parameters.
        reference: (m, P) draws of the exact posterior, as lines.
        truth: (P,) true parameters.
        limits: (P, 2) bounds of the support, infinite if unbounded; axes and smoothing end there.

    Raises:
        InnflowError: for more than 8 parameters; `plot_profile` takes any number.
    """
    count = draws.shape[1]
    if count > MOST_PAIRS:
        raise InnflowError(
            f"plot_pairs: {count} parameters are too many for one figure; choose {MOST_PAIRS} "
            "of them or use plot_profile"
        )
    clouds = [draws] if reference is None else [draws, reference]
    pooled = np.concatenate(clouds)
    if limits is None:
        limits = np.full((count, 2), [-np.inf, np.inf])
    edges = [
        _edges(pooled[:, i], None if truth is None else float(truth[i]), *limits[i])
        for i in range(count)
    ]
    side = 3.2 if count == 1 else min(1.9, 7.4 / count) * count + 0.6
    figure, flat = new_figure(count, count, height=side, width=side)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.03)
    for place, axis in enumerate(flat):
        row, column = divmod(place, count)
        if column > row:
            axis.remove()
            continue
        if column == row:
            _marginal(axis, clouds, row, edges[row])
        else:
            _pair(axis, clouds, (column, row), (edges[column], edges[row]))
            axis.set_ylim(edges[row][0], edges[row][-1])
        axis.set_xlim(edges[column][0], edges[column][-1])
        if truth is not None:
            _mark(axis, truth, column, row)
        _label(axis, names, row, column, count)
    figure.align_labels()
    handles = legend_handles(reference is not None, truth is not None, regions=count > 1)
    if count == 1:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    else:
        figure.legend(handles=handles, loc="upper right", fontsize=8 + (count > 3))
    return figure


def _edges(pooled: np.ndarray, truth: float | None, lowest: float, highest: float) -> np.ndarray:
    """Return the edges of the bins: one bin for each value of a discrete parameter."""
    low, high = np.quantile(pooled, [0.001, 0.999])
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    # Edges must differ in double precision, also where all draws are one large value.
    margin = max(0.06 * (high - low), 1e-6 * max(abs(low), abs(high))) or 0.5
    low, high = max(low - margin, lowest), min(high + margin, highest)
    values = np.unique(pooled[(pooled >= low) & (pooled <= high)])
    if 2 < len(values) <= CELLS and len(pooled) > 4 * len(values):
        step = np.diff(values).min()
        places = (values - values[0]) / step
        if places[-1] <= 4 * CELLS and np.allclose(places, places.round(), atol=1e-3):
            return values[0] + step * (np.arange(round(places[-1]) + 2) - 0.5)
    return np.linspace(low, high, CELLS + 1)


def _smoothing(edges: np.ndarray, rows: int) -> float:
    """Return the width of the smoothing in cells: less for more draws, 0 for discrete values."""
    return min(2.5, 1.2 * (20_000 / rows) ** (1 / 6)) if len(edges) == CELLS + 1 else 0.0


def _marginal(axis: Axes, clouds: Sequence[np.ndarray], column: int, edges: np.ndarray) -> None:
    for position, cloud in enumerate(clouds):
        density, _ = np.histogram(cloud[:, column], edges)
        height = gaussian_filter(
            density / len(cloud) / np.diff(edges), 0.6 * _smoothing(edges, len(cloud))
        )
        if position == 0:
            axis.stairs(height, edges, fill=True, color=DRAWS, alpha=0.3)
            axis.stairs(height, edges, color=DRAWS, linewidth=1.2)
        else:
            axis.stairs(height, edges, color=REFERENCE, linewidth=1.2)
    axis.set(yticks=[])
    axis.set_ylim(bottom=0)
    axis.spines["left"].set_visible(False)


def _pair(
    axis: Axes,
    clouds: Sequence[np.ndarray],
    columns: tuple[int, int],
    edges: tuple[np.ndarray, np.ndarray],
) -> None:
    centres = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    areas = np.outer(np.diff(edges[0]), np.diff(edges[1]))
    for position, cloud in enumerate(clouds):
        width = [_smoothing(edge, len(cloud)) for edge in edges]
        counts = np.histogram2d(cloud[:, columns[0]], cloud[:, columns[1]], bins=edges)[0]
        density = gaussian_filter(counts, width) / areas
        levels = _levels(density, areas)
        if position == 0:
            colors = ["#A9CBE6", "#4F97CC"]
            axis.contourf(*centres, density.T, levels=[*levels, np.inf], colors=colors)
        else:
            axis.contour(*centres, density.T, levels=levels, colors=REFERENCE, linewidths=1.0)


def _levels(density: np.ndarray, areas: np.ndarray) -> list[float]:
    """Return the two densities, ascending, above which lie 95% and 68% of the mass."""
    order = np.argsort(density, axis=None)[::-1]
    mass = np.cumsum((density * areas).ravel()[order])
    places = np.searchsorted(mass, mass[-1] * np.array(SHARES))
    high, low = density.ravel()[order][places].tolist()
    # Contours need ascending levels, also for draws in a single cell.
    return [low, high if high > low else np.nextafter(low, np.inf)]


def _mark(axis: Axes, truth: np.ndarray, column: int, row: int) -> None:
    line: dict[str, Any] = {"color": TRUTH, "linewidth": 0.8, "linestyle": (0, (4, 2))}
    axis.axvline(float(truth[column]), **line)
    if row != column:
        axis.axhline(float(truth[row]), **line)
        axis.plot(truth[column], truth[row], "s", color=TRUTH, markersize=3)


def _label(axis: Axes, names: Sequence[str], row: int, column: int, count: int) -> None:
    small = 8.5 if count < 6 else 7.0
    axis.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    axis.tick_params(labelsize=small - 1)
    axis.yaxis.get_offset_text().set_fontsize(small - 1)
    axis.xaxis.get_offset_text().set_fontsize(small - 1)
    if row == count - 1:
        axis.set_xlabel(names[column], fontsize=small)
        axis.tick_params(axis="x", labelrotation=45 if count > 4 else 0)
    else:
        axis.tick_params(labelbottom=False)
    if row != column:
        axis.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
        if column == 0:
            axis.set_ylabel(names[row], fontsize=small)
        else:
            axis.tick_params(labelleft=False)
