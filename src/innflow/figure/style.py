"""Style of all figures: sizes, fonts, and a colour for each role of a set."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

DPI = 150
WIDTH = 7.0

# The palette of Okabe and Ito, for colour-blind readers, and colours of Tol's.
ROLES = {"train": "#8C95A0", "val": "#56B4E9", "inlier": "#0072B2", "sample": "#009E73"}
OUTLIERS = ("#D55E00", "#E69F00", "#CC79A7", "#882255", "#999933", "#AA4499", "#661100", "#DDCC77")
GREY = "#444444"
DASHED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 3))}
HEAT = "magma"
CYCLE = (ROLES["inlier"], OUTLIERS[0], ROLES["sample"], OUTLIERS[2], OUTLIERS[1], ROLES["val"])

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": "#E3E6EA",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.5,
    "image.interpolation": "nearest",
}


@contextmanager
def style() -> Iterator[None]:
    """Use innflow's style within the context."""
    with mpl.rc_context(STYLE):
        yield


def new_figure(
    rows: int = 1,
    columns: int = 1,
    height: float = 3.0,
    width: float = WIDTH,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row; sizes in inches, `ratios` of the columns."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    return figure, list(axes.flat)


def new_panels(
    count: int, columns: int, tall: float, width: float, extra: float = 0.4
) -> tuple[Figure, list[Axes]]:
    """Return a figure and `count` axes in rows of `columns`; rows are `tall` inches, plus `extra`.

    The axes that would fill the last row are hidden.
    """
    rows = -(-count // columns)
    figure, axes = new_figure(rows, columns, height=extra + tall * rows, width=width)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def legend_below(figure: Figure, axis: Axes, most: int, **options: Any) -> None:
    """Draw the legend of one axis below the figure, with at most `most` entries in a row."""
    handles, names = axis.get_legend_handles_labels()
    ncols = min(most, len(names))
    figure.legend(handles, names, loc="outside lower center", ncols=ncols, **options)


def draw_points(axis: Axes, points: np.ndarray, **options: Any) -> None:
    """Draw points (N, 2) without edges, as pixels also in vector graphics."""
    axis.scatter(*points.T, **{"linewidths": 0, "rasterized": True, **options})


def palette(roles: Mapping[str, str]) -> dict[str, str]:
    """Return a colour for each set by its role: train, val, inlier, sample or outlier."""
    outliers = [name for name, role in roles.items() if role == "outlier"]
    return {
        name: OUTLIERS[outliers.index(name) % len(OUTLIERS)] if role == "outlier" else ROLES[role]
        for name, role in roles.items()
    }


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file on white, large enough for all that it shows."""
    buffer = io.BytesIO()
    paper: dict[str, Any] = {"facecolor": "white", "bbox_inches": "tight", "pad_inches": 0.06}
    figure.savefig(buffer, format="png", dpi=DPI, **paper)
    return buffer.getvalue()
