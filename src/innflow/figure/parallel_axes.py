"""Parallel coordinates of the jobs of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from innflow.figure.style import GREY, HEAT, OUTLIERS, new_figure, style

MOST_TICKS = 6
DECADES = 30.0
"""A positive range wider than this factor has a log axis."""


@style()
def plot_parallel(
    axes: Mapping[str, Sequence[str]], metric: str, values: np.ndarray, best: int
) -> Figure:
    """Draw one line for each job over the varied keys, with the metric on the right.

    Args:
        axes: key -> value of each job as on the command line, (J,); numbers have a numeric axis.
        metric: name of the last axis, which also gives the colours of the lines.
        values: of the metric, (J,).
        best: index of the job that is highlighted.
    """
    columns = {**axes, metric: [f"{value:.4g}" for value in values]}
    figure, (axis,) = new_figure(height=3.6, width=max(5.0, 1.5 * len(columns)))
    heights = []
    for place, typed in enumerate(columns.values()):
        position, ticks = _scale(typed)
        heights.append([position[each] for each in typed])
        _draw_axis(axis, place, ticks, right=place == len(columns) - 1)
    lines = np.array(heights).T
    spread = np.ptp(values)
    shades = (values - values.min()) / spread if spread else np.full(len(values), 0.5)
    colors = mpl.colormaps[HEAT](0.1 + 0.75 * shades)
    for line, color in zip(lines, colors, strict=True):
        axis.plot(line, color=color, linewidth=1.0, alpha=0.75)
    axis.plot(lines[best], color=OUTLIERS[0], linewidth=2.4, label="best", zorder=4)
    axis.set(xlim=(-0.35, len(columns) - 0.4), ylim=(-0.08, 1.08), yticks=[])
    axis.set_xticks(range(len(columns)), [_short(name) for name in columns])
    axis.tick_params(axis="x", length=0)
    axis.spines[:].set_visible(False)
    figure.legend(loc="outside upper right")
    return figure


def _scale(typed: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the height of each value, and of the ticks by their labels."""
    distinct = list(dict.fromkeys(typed))
    try:
        numbers = np.array([float(each) for each in distinct])
    except ValueError:
        numbers = np.arange(len(distinct), dtype=float)
        ordered = sorted(distinct)
        numbers = np.array([float(ordered.index(each)) for each in distinct])
    if not np.isfinite(numbers).all():
        numbers = np.arange(len(distinct), dtype=float)
    if numbers.min() > 0 and numbers.max() / numbers.min() > DECADES:
        numbers = np.log(numbers)
    spread = np.ptp(numbers)
    heights = (numbers - numbers.min()) / spread if spread else np.full(len(numbers), 0.5)
    position = dict(zip(distinct, heights.tolist(), strict=True))
    shown = sorted(distinct, key=position.__getitem__)
    if len(shown) > MOST_TICKS:
        shown = [shown[i] for i in np.linspace(0, len(shown) - 1, MOST_TICKS).round().astype(int)]
    return position, {each: position[each] for each in shown}


def _draw_axis(axis: Axes, place: int, ticks: Mapping[str, float], right: bool) -> None:
    axis.axvline(place, color=GREY, linewidth=0.8, ymin=0.07, ymax=0.93)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    options: dict[str, Any] = {"va": "center", "fontsize": 7.5, "parse_math": False, "zorder": 5}
    options |= {"xytext": (5 if right else -5, 0), "ha": "left" if right else "right", "bbox": box}
    for text, height in ticks.items():
        axis.annotate(_short(text), (place, height), textcoords="offset points", **options)


def _short(text: str) -> str:
    shown = text if len(text) <= 22 else f"{text[:10]}…{text[-11:]}"
    return shown.replace("$", r"\$")
