"""Images of lowest and highest score, and the rank correlation of scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from innflow.figure.mosaic import FONT, blank, paste, show, text_width, whole_factor
from innflow.figure.style import new_figure, style

EDGE = 4
HEAD = 30
FOOT = 40
MIDDLE = 28
WRITTEN = 24


@style()
def plot_ranking(
    pictures: np.ndarray,
    sets: Sequence[str],
    ends: Mapping[str, tuple[np.ndarray, np.ndarray]],
    colors: Mapping[str, str],
) -> Figure:
    """Draw for each score the images of lowest and of highest value, framed by set.

    Args:
        pictures: (N, C, H, W) uint8.
        sets: name of the set of each picture.
        ends: score -> positions (K,) of the lowest and (K,) of the highest values, ascending.
        colors: set -> colour.
    """
    factor = whole_factor(pictures, 64)
    tall, wide = pictures.shape[2] * factor, pictures.shape[3] * factor
    cell, line = wide + 2 * EDGE + 4, tall + 2 * EDGE + 8
    count = max(len(low) for low, _ in ends.values())
    left = max(map(text_width, ends)) + 14
    half = count * cell
    width = left + 2 * half + MIDDLE
    canvas = blank(HEAD + len(ends) * line + FOOT, width)
    shown: dict[str, None] = {}
    for row, (low, high) in enumerate(ends.values()):
        y = HEAD + row * line + EDGE
        for start, chosen in ((left, low), (left + half + MIDDLE, high)):
            for column, index in enumerate(chosen):
                x = start + column * cell + EDGE
                paste(canvas, pictures[index], x, y, factor, colors[sets[index]])
                shown[sets[index]] = None
    figure, axis = show(canvas)
    for start, title in ((left, "least anomalous"), (left + half + MIDDLE, "most anomalous")):
        axis.text(start + half / 2, HEAD - 8, title, ha="center", va="bottom", fontsize=FONT)
    for row, name in enumerate(ends):
        y = HEAD + row * line + line / 2
        axis.text(left - 10, y, name, ha="right", va="center", fontsize=FONT)
    handles = [Patch(color=colors[name], label=name) for name in colors if name in shown]
    axis.legend(handles=handles, loc="lower center", ncols=len(handles), borderaxespad=0.3)
    return figure


@style()
def plot_matrix(matrix: np.ndarray, names: Sequence[str], label: str) -> Figure:
    """Draw a symmetric matrix of correlations as a heat map with its numbers.

    Args:
        matrix: (S, S) from -1 to 1; NaN is left white.
        names: of the rows and columns.
        label: of the colour bar.
    """
    count = len(names)
    longest = max(map(len, names))
    side = 0.9 + 0.42 * count + 0.06 * longest
    figure, (axis,) = new_figure(height=side, width=side + 1.0)
    image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_xticks(range(count), list(names), rotation=90)
    axis.set_yticks(range(count), list(names))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    if count <= WRITTEN:
        for row, column in np.argwhere(np.isfinite(matrix)):
            value = matrix[row, column]
            color = "white" if abs(value) > 0.65 else "#222222"
            text = f"{value:.2f}"
            axis.text(column, row, text, ha="center", va="center", color=color, fontsize=6.5)
    figure.colorbar(image, ax=axis, shrink=0.7, pad=0.02, label=label)
    return figure
