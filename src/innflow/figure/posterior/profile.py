"""Profiles of posterior draws, resimulated data and recovered noise."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from innflow.figure.style import DASHED, OUTLIERS, ROLES, new_figure, new_panels, style

DRAWS, REFERENCE, TRUTH = ROLES["inlier"], OUTLIERS[0], "#222222"
NOISE: dict[str, Any] = {"color": TRUTH, "linewidth": 0.8, "linestyle": (0, (2, 2))}
MOST_PANELS = 6
"""Largest number of observables that have one panel each."""


@style()
def plot_profile(
    draws: np.ndarray,
    names: Sequence[str],
    reference: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> Figure:
    """Draw the median and the 68% and 95% bands of many parameters along their index.

    Args:
        draws: (n, P).
        names: of the P parameters, whose common words label the axes.
        reference: (m, P) draws of the exact posterior, as lines.
        truth: (P,) true parameters.
    """
    figure, (axis,) = new_figure(height=3.0)
    _bands(axis, draws, reference, truth)
    _name_axes(axis, names)
    handles = legend_handles(reference is not None, truth is not None)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@style()
def plot_resimulation(
    names: Sequence[str], y: np.ndarray, resimulated: np.ndarray, noise_sd: np.ndarray | None = None
) -> Figure:
    """Draw the residuals of the resimulated data of the draws, without noise.

    Args:
        names: of the M observables.
        y: (M,) the observation, NaN where it is missing.
        resimulated: (n, M) data that the forward model gives for the draws.
        noise_sd: (M,) standard deviations of the noise, drawn as bands of one and two.
    """
    there = np.isfinite(y)
    names, y, resimulated = [*np.array(names)[there]], y[there], resimulated[:, there]
    noise_sd = None if noise_sd is None else np.broadcast_to(noise_sd, there.shape)[there]
    residuals = resimulated - y
    if len(names) <= MOST_PANELS:
        return _residual_histograms(names, residuals, noise_sd)
    figure, (top, bottom) = new_figure(2, 1, height=4.4)
    _bands(top, resimulated, None, None)
    top.plot(np.arange(len(y)), y, ".", color=TRUTH, markersize=4)
    _name_axes(top, names)
    top.tick_params(labelbottom=False)
    top.set_xlabel("")
    _bands(bottom, residuals, None, None)
    bottom.axhline(0, color=TRUTH, linewidth=0.9)
    _name_axes(bottom, names)
    bottom.set_ylabel("$f(x) - y$")
    figure.align_ylabels()
    handles = legend_handles(False, False)
    handles.append(Line2D([], [], color=TRUTH, marker=".", linestyle="", label="observation"))
    if noise_sd is not None:
        sd = np.broadcast_to(noise_sd, y.shape)
        for times in (-2, -1, 1, 2):
            bottom.plot(np.arange(len(y)), times * sd, **NOISE)
        handles.append(Line2D([], [], label="noise, 1 and 2 sd", **NOISE))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@style()
def plot_recovery(drawn: np.ndarray, exact: np.ndarray) -> Figure:
    """Draw the noise drawn with the parameters against the noise that the parameters imply.

    Args:
        drawn: (..., M) standard normal noise vectors.
        exact: (..., M) S^-1 (y - f(x)) of the same draws.
    """
    a, b = np.ravel(drawn), np.ravel(exact)
    figure, (left, right) = new_figure(1, 2, height=2.6, width=5.6)
    reach = 1.05 * float(np.quantile(np.abs(np.concatenate([a, b])), 0.999))
    edges = np.linspace(-reach, reach, 61)
    counts = np.histogram2d(b, a, bins=(edges, edges))[0]
    shown = np.ma.masked_equal(counts.T, 0)
    left.pcolormesh(edges, edges, shown, cmap="Blues", norm="log", rasterized=True)
    left.plot([-reach, reach], [-reach, reach], **DASHED)
    left.set(xlabel="implied noise", ylabel="drawn noise", aspect="equal")
    left.set_title(f"correlation {np.corrcoef(a, b)[0, 1]:.4f}")
    error = a - b
    rmse = float(np.sqrt(np.square(error).mean()))
    limit = float(np.quantile(np.abs(error), 0.998)) or 1.0
    bins = np.linspace(-limit, limit, 51).tolist()
    weights = np.full(len(error), 1 / len(error))
    right.hist(np.clip(error, -limit, limit), bins, weights=weights, color=DRAWS, alpha=0.6)
    right.set(xlabel="drawn $-$ implied noise", ylabel="share", xlim=(-limit, limit))
    right.set_title(f"root mean square {rmse:.3g}")
    right.ticklabel_format(axis="x", scilimits=(-2, 3))
    right.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def legend_handles(reference: bool, truth: bool, regions: bool = True) -> list[Line2D | Patch]:
    """Return the entries of a legend."""
    label = "draws, 68% and 95%" if regions else "draws"
    handles: list[Line2D | Patch] = [Patch(color=DRAWS, alpha=0.5, label=label)]
    if reference:
        handles.append(Line2D([], [], color=REFERENCE, label="reference"))
    if truth:
        handles.append(Line2D([], [], color=TRUTH, linestyle=(0, (4, 2)), label="truth"))
    return handles


def _bands(
    axis: Axes, draws: np.ndarray, reference: np.ndarray | None, truth: np.ndarray | None
) -> None:
    index = np.arange(draws.shape[1])
    shares = [0.025, 0.16, 0.5, 0.84, 0.975]
    lowest, low, median, high, highest = np.quantile(draws, shares, axis=0)
    axis.fill_between(index, lowest, highest, color=DRAWS, alpha=0.18, linewidth=0)
    axis.fill_between(index, low, high, color=DRAWS, alpha=0.3, linewidth=0)
    axis.plot(index, median, color=DRAWS)
    if reference is not None:
        lines = np.quantile(reference, shares, axis=0)
        for line, width in zip(lines, (0.7, 1, 1.4, 1, 0.7), strict=True):
            axis.plot(index, line, color=REFERENCE, linewidth=width)
    if truth is not None:
        axis.plot(index, truth, color=TRUTH, linewidth=1.0, linestyle=(0, (4, 2)))
    axis.set_xlim(-0.5, len(index) - 0.5)
    axis.grid(True)


def _name_axes(axis: Axes, names: Sequence[str]) -> None:
    """Label both axes and the ticks of the horizontal one with what names have in common.

    Of names such as `depth (m) at position 0.5 km` the numbers are at the ticks, `position (km)` is
    below them and `depth (m)` at the vertical axis, which has all common first words of names
    without `at`.
    """
    step = -(-len(names) // 16)
    words = [name.split() for name in names]
    first = _shared(words)
    rest = [word[len(first) :] for word in words]
    unit = _shared([word[:0:-1] for word in rest])[::-1]
    shown = [" ".join(word[: len(word) - len(unit)]) for word in rest[::step]]
    quantity, _, position = " ".join(first).partition(" at ")
    units = " ".join(unit)
    axis.set_ylabel(quantity)
    axis.set_xlabel(f"{position} ({units})" if position and units else position or units)
    crowded = max(len(name) for name in shown) * len(shown) > 80
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(np.arange(0, len(names), step), shown, **(turn if crowded else {}))


def _shared(words: Sequence[Sequence[str]]) -> list[str]:
    """Return the first words that all lists have in common."""
    alike = takewhile(lambda group: len({*group}) == 1, zip(*words, strict=False))
    return [group[0] for group in alike]


def _residual_histograms(
    names: Sequence[str], residuals: np.ndarray, noise_sd: np.ndarray | None
) -> Figure:
    count = len(names)
    columns = min(3, count)
    figure, axes = new_panels(count, columns, 1.9, 0.8 + 2.1 * columns)
    scales = None if noise_sd is None else np.broadcast_to(noise_sd, (count,))
    for position, name in enumerate(names):
        axis, values = axes[position], residuals[:, position]
        reach = 1.05 * float(np.quantile(np.abs(values), 0.995))
        if scales is not None:
            reach = max(reach, 2.2 * float(scales[position]))
            for times in (2, 1):
                width = times * float(scales[position])
                axis.axvspan(-width, width, color=TRUTH, alpha=0.1, linewidth=0)
        reach = reach or 1.0
        bins = np.linspace(-reach, reach, 41).tolist()
        share = np.full(len(values), 1 / len(values))
        axis.hist(np.clip(values, -reach, reach), bins, weights=share, color=DRAWS, alpha=0.6)
        axis.axvline(0, color=TRUTH, linewidth=0.9, linestyle=(0, (4, 2)))
        axis.set(title=name, xlim=(-reach, reach))
        axis.set_xlabel("$f(x) - y$")
        if position % columns == 0:
            axis.set_ylabel("share of the draws")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.ticklabel_format(axis="x", scilimits=(-2, 3))
    if scales is not None:
        patch = Patch(color=TRUTH, alpha=0.2, label="noise, 1 and 2 sd")
        figure.legend(handles=[patch], loc="outside lower center")
    return figure
