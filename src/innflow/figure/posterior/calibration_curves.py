"""Calibration and sharpness of posteriors over many observations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from innflow.figure.style import CYCLE, DASHED, GREY, OUTLIERS, new_figure, style
from innflow.metric import compute_band, spread_ranks

MOST_NAMED = 8
"""Largest number of curves in colours; with more, those inside the band are grey."""
HUES = (*CYCLE, *OUTLIERS[3:])
BAND: dict[str, Any] = {"color": GREY, "alpha": 0.13, "linewidth": 0}


@style()
def plot_ranks(ranks: np.ndarray, draws: int, names: Sequence[str], level: float = 0.95) -> Figure:
    """Draw each parameter's ECDF of ranks minus the uniform one, with a simultaneous band.

    A curve above zero on the left and below zero on the right means a posterior that is too narrow,
    the opposite one that is too wide; a curve on one side of zero means a bias.

    Args:
        ranks: (N, P) from 0 to `draws`.
        draws: L.
        names: of the P parameters.
        level: least probability that all curves of a calibrated posterior lie in the band.
    """
    rng = np.random.default_rng(0)
    values = spread_ranks(ranks, draws, rng)
    # Bonferroni correction for the number of parameters.
    points, low, high = compute_band(len(values), rng, 1 - (1 - level) / len(names))
    figure, (axis,) = new_figure(height=2.8, width=6.2)
    _band(axis, points, low, high)
    curves = {name: _ecdf(values[:, i], points) for i, name in enumerate(names)}
    out = {
        name: bool(((curve < low - 1e-9) | (curve > high + 1e-9)).any())
        for name, curve in curves.items()
    }
    named = list(names) if len(names) <= MOST_NAMED else [name for name in names if out[name]]
    shown = named[: len(HUES)]
    for name, curve in curves.items():
        if name not in shown:
            axis.step(*_difference(points, curve), where="mid", color="#9AA3AD", linewidth=0.8)
    for name, hue in zip(shown, HUES, strict=False):
        label = f"{name} (outside)" if out[name] else name
        line = _difference(points, curves[name])
        axis.step(*line, where="mid", color=hue, linewidth=1.2, label=label)
    if len(shown) < len(names):
        rest = len(names) - len(shown)
        label = f"{rest} others" if shown else f"{rest} parameters, all inside"
        axis.plot([], [], color="#9AA3AD", linewidth=0.8, label=label)
    axis.set(xlim=(0, 1), xlabel="rank of the truth / draws", ylabel="ECDF $-$ uniform")
    figure.legend(loc="outside right upper", title=f"band: {level:.0%}", alignment="left")
    return figure


@style()
def plot_coverage(levels: Mapping[str, np.ndarray], level: float = 0.95) -> Figure:
    """Draw the expected coverage of credible regions against their level.

    A curve below the diagonal means that regions are too small: the posterior is overconfident.

    Args:
        levels: kind of region -> (N,) level of the smallest region that contains each truth.
        level: probability that the curve of a calibrated posterior lies in the band.
    """
    count = len(next(iter(levels.values())))
    points, low, high = compute_band(count, np.random.default_rng(0), level)
    figure, (left, right) = new_figure(1, 2, height=2.9, width=6.2)
    grid = np.r_[0, points, 1]
    edges = np.r_[0, low, 1], np.r_[0, high, 1]
    left.fill_between(grid, *edges, **BAND, label=f"calibrated, {level:.0%}")
    left.plot([0, 1], [0, 1], **DASHED)
    _band(right, points, low, high)
    for hue, (name, values) in zip(HUES, levels.items(), strict=False):
        curve = _ecdf(values, points)
        left.plot(grid, np.r_[0, curve, 1], color=hue, label=name)
        right.step(*_difference(points, curve), where="mid", color=hue, linewidth=1.2)
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    left.set(xlabel="credible level", ylabel="expected coverage")
    right.set(xlim=(0, 1), xlabel="credible level", ylabel="coverage $-$ level")
    figure.legend(loc="outside upper center", ncols=len(levels) + 1)
    return figure


@style()
def plot_sharpness(sharpness: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the ratio (P,) of the posterior to the prior standard deviation of each parameter."""
    count = len(names)
    figure, (axis,) = new_figure(height=0.7 + 0.22 * max(3, count), width=5.0)
    rows = np.arange(count)
    axis.barh(rows, sharpness, height=0.62, color=CYCLE[0], alpha=0.75)
    right = axis.secondary_yaxis("right")
    right.set_yticks(rows, labels=[f"{value:.2f}" for value in sharpness])
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axis.axvline(1, **DASHED)
    axis.set(xlim=(0, 1.03 * max(1.0, float(np.max(sharpness)))), ylim=(count - 0.4, -0.6))
    axis.set(xlabel="mean posterior sd / prior sd")
    axis.set_yticks(rows, labels=list(names))
    axis.tick_params(axis="y", length=0)
    return figure


def _ecdf(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values), points, side="right") / len(values)


def _difference(points: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.r_[0, points, 1], np.r_[0, curve - points, 0]


def _band(axis: Axes, points: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    grid, lower = _difference(points, low)
    axis.fill_between(grid, lower, _difference(points, high)[1], **BAND)
    axis.axhline(0, **DASHED)
