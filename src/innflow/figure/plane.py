"""Densities, maps and counterfactuals in the plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from innflow.figure.classification.classes import class_colors, class_legend
from innflow.figure.style import DASHED, GREY, HEAT, ROLES, draw_points, new_figure, style


@style()
def plot_moves(
    starts: np.ndarray,
    ends: np.ndarray,
    targets: np.ndarray,
    means: np.ndarray,
    names: Sequence[str],
    background: np.ndarray,
) -> Figure:
    """Draw arrows from items to their counterfactuals, in the colour of the target class.

    Args:
        starts: (N, 2) items.
        ends: (N, 2) counterfactuals.
        targets: (N,) target classes.
        means: (C, 2) decoded class means.
        names: of the classes.
        background: (M, 2) data, in grey.
    """
    figure, (axis,) = new_figure(height=4.2, width=5.4)
    colors = class_colors(len(names))
    draw_points(axis, background, s=2, color="#C8CDD2")
    units: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1}
    hues = colors[targets]
    axis.quiver(*starts.T, *(ends - starts).T, color=hues, width=0.003, headwidth=5, **units)
    axis.plot(*starts.T, "o", color="#222222", markersize=3)
    draw_points(axis, means, marker="*", s=90, c=colors, edgecolors="#222222", linewidths=0.5)
    shown = np.concatenate([background, means, ends])
    (left, bottom), (right, top) = shown.min(axis=0), shown.max(axis=0)
    wide, tall = 0.05 * (right - left), 0.05 * (top - bottom)
    axis.set(xlim=(left - wide, right + wide), ylim=(bottom - tall, top + tall))
    axis.set(aspect="equal", xlabel="x₁", ylabel="x₂")
    axis.set_title("counterfactuals")
    class_legend(figure, names, "target class", marker=">")
    return figure


# matplotlib's own cyclic colour maps pass through white.
CYCLIC = LinearSegmentedColormap.from_list(
    "innflow", ["#0072B2", "#009E73", "#E69F00", "#D55E00", "#882255", "#0072B2"]
)


@style()
def plot_maps(
    data: np.ndarray, encoded: np.ndarray, latent: np.ndarray, decoded: np.ndarray
) -> Figure:
    """Draw data and their latents, and draws of the latent and their samples.

    The colour of a point is its direction in latent space.

    Args:
        data: (N, 2) data.
        encoded: (N, 2) their latent vectors.
        latent: (M, 2) draws of the standard normal.
        decoded: (M, 2) the samples of these draws.
    """
    figure, axes = new_figure(2, 2, height=6.3, width=6.2)
    box = _box(data, decoded)
    panels = (
        (data, encoded, "data x", box),
        (encoded, encoded, "z = f(x)", None),
        (decoded, latent, "samples f⁻¹(z)", box),
        (latent, latent, "z drawn from N(0, 1)", None),
    )
    for axis, (points, hue, title, limits) in zip(axes, panels, strict=True):
        angle = np.arctan2(hue[:, 1], hue[:, 0])
        draw_points(axis, points, c=angle, cmap=CYCLIC, vmin=-np.pi, vmax=np.pi, s=5)
        _frame(axis, np.array([[-4, -4], [4, 4]]) if limits is None else limits, title)
        if limits is None:
            for radius in (1, 2, 3):
                axis.add_patch(Circle((0, 0), radius, fill=False, color=GREY, linewidth=0.5))
    return figure


@style()
def plot_densities(
    densities: Sequence[tuple[str, np.ndarray]],
    extent: tuple[float, float, float, float],
    points: np.ndarray | None = None,
) -> Figure:
    """Draw densities on a grid side by side on one scale, with contours of 25, 68 and 95% mass.

    Args:
        densities: (title, (rows, columns) density values, rows from low to high y).
        extent: x low, x high, y low, y high.
        points: (N, 2) data for a further panel with the contours of the last density.
    """
    panels = len(densities) + (points is not None)
    window = _window([values for _, values in densities], extent)
    tall, wide = window[1, 1] - window[0, 1], window[1, 0] - window[0, 0]
    height = float(np.clip(6.4 / panels * tall / wide, 1.8, 4.5)) + 0.5
    figure, axes = new_figure(1, panels, height=height, width=7.4)
    top = max(float(np.quantile(values, 0.999)) for _, values in densities)
    for axis, (title, values) in zip(axes, densities, strict=False):
        image = axis.imshow(values, extent=extent, origin="lower", cmap=HEAT, vmin=0, vmax=top)
        image.set_interpolation("bilinear")
        levels = _mass_levels(values)
        axis.contour(values, levels, extent=extent, colors="white", linewidths=0.6, alpha=0.8)
        _frame(axis, window, title)
    if points is not None:
        draw_points(axes[-1], points, s=3, color=ROLES["inlier"], alpha=0.6)
        axes[-1].contour(values, levels, extent=extent, colors="#222222", linewidths=0.8)
        _frame(axes[-1], window, "test data")
    figure.colorbar(image, ax=axes, shrink=0.8, label="density", pad=0.01, extend="max")
    return figure


@style()
def plot_deformed_grid(
    latent_lines: np.ndarray, data_lines: np.ndarray, points: np.ndarray
) -> Figure:
    """Draw straight lines of the latent plane, and their images under the inverse map.

    Args:
        latent_lines: (L, P, 2) lines of P points; the first half at constant z1, the rest at z2.
        data_lines: (L, P, 2) the same points decoded.
        points: (N, 2) data, for scale.
    """
    figure, axes = new_figure(1, 2, height=3.7, width=7.0)
    half = len(latent_lines) // 2
    hues = [ROLES["inlier"]] * half + ["#D55E00"] * (len(latent_lines) - half)
    draw_points(axes[1], points, s=3, color="#C9CED4")
    for axis, lines in zip(axes, (latent_lines, data_lines), strict=True):
        axis.add_collection(LineCollection(list(lines), colors=hues, linewidths=0.8))
    reach = np.abs(latent_lines).max() * 1.06
    _frame(axes[0], np.array([[-reach, -reach], [reach, reach]]), "latent plane")
    _frame(axes[1], _box(points), "images under the inverse map")
    handles = [Line2D([], [], color=hues[0]), Line2D([], [], color=hues[-1])]
    figure.legend(handles, ["z₁ constant", "z₂ constant"], loc="outside lower center", ncols=2)
    return figure


@style()
def plot_pointwise(exact: np.ndarray, flow: np.ndarray) -> Figure:
    """Draw the log density (N,) of a flow against the exact one, point by point, in nats."""
    figure, (left, right) = new_figure(1, 2, height=3.3, width=6.8)
    low, high = float(min(exact.min(), flow.min())), float(max(exact.max(), flow.max()))
    margin = 0.04 * (high - low) + 1e-9
    limits = (low - margin, high + margin)
    left.plot(limits, limits, **DASHED)
    draw_points(left, np.stack([exact, flow], axis=1), s=6, color=ROLES["inlier"], alpha=0.45)
    left.set(xlim=limits, ylim=limits, aspect="equal", title="point by point")
    left.set(xlabel="exact log p(x), nats", ylabel="flow log q(x), nats")
    difference = exact - flow
    right.hist(difference, 50, color=ROLES["inlier"], alpha=0.75)
    right.axvline(0, **DASHED)
    right.axvline(float(difference.mean()), color="#D55E00", linewidth=1.3)
    right.set(xlabel="log p(x) - log q(x), nats", ylabel="points")
    right.set_title(f"mean {difference.mean():.4f} (estimates KL)")
    return figure


def _box(*clouds: np.ndarray) -> np.ndarray:
    low, high = np.quantile(np.concatenate(clouds), [0.001, 0.999], axis=0)
    margin = 0.12 * (high - low) + 1e-9
    return np.stack([low - margin, high + margin])


def _frame(axis: Axes, limits: np.ndarray, title: str) -> None:
    axis.set(xlim=limits[:, 0], ylim=limits[:, 1], aspect="equal", title=title)


def _window(
    densities: Sequence[np.ndarray], extent: tuple[float, float, float, float]
) -> np.ndarray:
    """Return the limits (2, 2) of the cells that hold 99.9% of the mass."""
    height, width = densities[0].shape
    held = np.zeros((height, width), dtype=bool)
    for values in densities:
        ordered = np.sort(values.ravel())[::-1]
        mass = np.cumsum(ordered)
        held |= values >= ordered[np.searchsorted(mass, 0.999 * mass[-1])]
    rows, columns = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    start, span = np.array(extent[::2]), np.array(extent[1::2]) - np.array(extent[::2])
    cells = np.stack([low, high]) / np.array([width, height])
    margin = 0.04 * (cells[1] - cells[0])
    cells = np.clip(cells + np.stack([-margin, margin]), 0, 1)
    return start + cells * span


def _mass_levels(values: np.ndarray) -> list[float]:
    """Return the densities of the contours that contain 95, 68 and 25% of the mass on the grid."""
    ordered = np.sort(values.ravel())[::-1]
    mass = np.cumsum(ordered)
    places = np.searchsorted(mass, mass[-1] * np.array([0.95, 0.68, 0.25]))
    return np.unique(ordered[places]).tolist()
