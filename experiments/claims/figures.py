"""One figure for each claim, from the numbers and series of its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims.claims import Claim
from experiments.claims.criteria import values
from innflow.figure.style import (
    CYCLE,
    DASHED,
    GREY,
    OUTLIERS,
    ROLES,
    draw_points,
    legend_below,
    new_figure,
    style,
)

Seeds = Sequence[Mapping[str, Any]]
"""The results of each seed: numbers and series."""


@style()
def plot_sides(claim: Claim, seeds: Seeds) -> Figure:
    """Draw each side as a point a seed and a line at their mean, panel by panel along x."""
    found = [seed["numbers"] for seed in seeds]
    panels = list(found[0])
    figure, (axis,) = new_figure(height=3.1, width=max(4.4, min(7.0, 1.6 + 0.62 * len(panels))))
    _sides(axis, claim.sides, found, panels)
    axis.set_ylabel(claim.unit)
    if claim.unit == "AUROC":
        axis.axhline(0.5, **DASHED)
        axis.set_ylim(-0.03, 1.03)
    _legend(figure, axis, claim)
    return figure


@style()
def plot_histograms(claim: Claim, seeds: Seeds) -> Figure:
    """Draw the bits per dim of the inliers and of the smoother outliers of the first seed."""
    models = seeds[0]["series"]
    figure, axes = new_figure(1, len(models), height=2.7)
    for axis, of in zip(axes, models.values(), strict=True):
        edges = np.array(of["edges"])
        middle = (edges[1:] + edges[:-1]) / 2
        outliers = iter(OUTLIERS)
        for name, shares in of["shares"].items():
            inside = name == of["inliers"]
            color = ROLES["inlier"] if inside else next(outliers)
            axis.plot(middle, shares, color=color, label=name, drawstyle="steps-mid")
            if inside:
                axis.fill_between(middle, shares, color=color, alpha=0.25, step="mid", linewidth=0)
        axis.set(title=f"flow on {of['inliers']}", xlabel="bits per dim", ylabel="share of images")
        axis.set_ylim(0)
        axis.legend(fontsize=7)
    return figure


@style()
def plot_learning(claim: Claim, seeds: Seeds) -> Figure:
    """Draw validation bits per dim over steps, a line for each seed."""
    figure, (axis,) = new_figure(height=2.9, width=4.8)
    for side, color in zip(claim.sides, CYCLE, strict=False):
        for number, seed in enumerate(seeds):
            steps, bits = seed["series"][side]
            axis.plot(steps, bits, color=color, label=None if number else side, linewidth=1.1)
    lowest = [min(seed["series"][claim.sides[0]][1]) for seed in seeds]
    first = [seed["series"][claim.sides[0]][1][0] for seed in seeds]
    axis.axhline(float(np.mean(lowest)), **DASHED)
    axis.set(xlabel="steps", ylabel="validation bits per dim")
    axis.set_ylim(min(lowest) - 0.15, np.mean(first) + 0.1)
    axis.grid(True)
    axis.legend()
    return figure


@style()
def plot_draws(claim: Claim, seeds: Seeds) -> Figure:
    """Draw what each test says, and the joint angles of posterior draws of the first seed."""
    found = [seed["numbers"] for seed in seeds]
    series = seeds[0]["series"]
    clouds = ["exact", *(side for side in claim.sides if side in series)]
    figure, axes = new_figure(1, 1 + len(clouds), height=2.6, ratios=[2.4, *[1] * len(clouds)])
    _sides(axes[0], claim.sides, found, list(found[0]), wrap=8)
    axes[0].set_ylim(-0.03, 1.03)
    colors = dict(zip(claim.sides, CYCLE, strict=False)) | {"exact": GREY}
    reach = 1.1 * float(np.abs(np.array(series["exact"])).max())
    for axis, name in zip(axes[1:], clouds, strict=True):
        draw_points(axis, np.array(series[name]).T, s=5, color=colors[name], alpha=0.6)
        axis.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axis.set_xlabel("joint 1, rad")
    axes[1].set_ylabel("joint 2, rad")
    _legend(figure, axes[0], claim)
    return figure


@style()
def plot_profiles(claim: Claim, seeds: Seeds) -> Figure:
    """Draw C2ST, and the posterior of every layer at one observation of the first seed."""
    found = [seed["numbers"] for seed in seeds]
    series = seeds[0]["series"]
    shown = [side for side in claim.sides if side in series]
    figure, axes = new_figure(1, 1 + len(shown), height=2.8, ratios=[1.3, *[1] * len(shown)])
    _sides(axes[0], claim.sides, found, ["C2ST"])
    axes[0].set_ylim(0.47, 1.02)
    colors = dict(zip(claim.sides, CYCLE, strict=False))
    truth, exact = np.array(series["truth"]), np.array(series["exact"])
    depth = np.arange(1, len(truth) + 1)
    for axis, side in zip(axes[1:], shown, strict=True):
        low, middle, high = 1000 * (np.array(series[side]) - exact[1])
        axis.fill_betweenx(depth, low, high, color=colors[side], alpha=0.4, linewidth=0)
        axis.plot(middle, depth, color=colors[side])
        for line in 1000 * (exact[[0, 2]] - exact[1]):
            axis.plot(line, depth, color=GREY, linewidth=1)
        axis.set(title=fill(side, 14), xlabel="ms/km")
        axis.invert_yaxis()
        if axis is not axes[1]:
            axis.sharex(axes[1])
    axes[1].set_ylabel("layer")
    _legend(figure, axes[0], claim)
    return figure


PLOTS: Mapping[int, Callable[[Claim, Seeds], Figure]] = {
    1: plot_histograms,
    5: plot_learning,
    11: plot_draws,
    12: plot_profiles,
}
"""Figures that are not `plot_sides`, by the number of the claim."""

CAPTION = "A point for each seed, a line at their mean."
CAPTIONS = {
    1: "Bits per dim at the bin centres of test images, seed 0. Left of the inliers: more likely.",
    5: "Validation bits per dim of every seed; dashed: the best from scratch, mean of the seeds.",
    11: f"{CAPTION} Right: 200 draws of the first two joint angles at y = (1.5, 0), seed 0.",
    12: f"{CAPTION} Right: 68% intervals and medians of the layers' slowness less the exact "
    "median, at one simulated observation, seed 0; grey lines: the exact posterior.",
}


def plot(claim: Claim, seeds: Seeds) -> Figure:
    """Return the figure of a claim."""
    return PLOTS.get(claim.number, plot_sides)(claim, seeds)


def _legend(figure: Figure, axis: Axes, claim: Claim) -> None:
    """Draw the legend below the figure, in two columns where the names are long."""
    inches = 0.07 * sum(len(side) + 6 for side in claim.sides)
    legend_below(figure, axis, 4 if inches < figure.get_figwidth() else 2)


def _sides(
    axis: Axes,
    sides: Sequence[str],
    found: Sequence[dict[str, Any]],
    panels: Sequence[str],
    wrap: int = 13,
) -> None:
    """Draw the sides of each panel next to each other; their names take lines of `wrap` letters."""
    width = 0.8 / len(sides)
    for place, (side, color) in enumerate(zip(sides, CYCLE, strict=False)):
        label: str | None = side.replace("_", " ")
        for x, panel in enumerate(panels):
            y = values(found, panel, side)
            y = y[np.isfinite(y)]
            if not len(y):
                continue
            middle = x + width * (place + 0.5) - 0.4
            axis.plot(np.full(len(y), middle), y, "o", color=color, markersize=3.5, alpha=0.7)
            ends = (middle - 0.42 * width, middle + 0.42 * width)
            axis.plot(ends, [y.mean()] * 2, color=color, label=label)
            label = None
    axis.set_xticks(range(len(panels)), [fill(panel, wrap) for panel in panels])
    axis.tick_params(axis="x", labelsize=7 if len(panels) > 6 else 8)
    axis.set_xlim(-0.5, len(panels) - 0.5)
    axis.grid(True, axis="y")
