"""Images of lowest and highest score."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from innflow.figure.image_rows import plot_image_rows
from innflow.figure.pixels import add_frames
from innflow.figure.style import style


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
    framed = add_frames(pictures, [colors[name] for name in sets])
    rows = [framed[np.r_[low, high]] for low, high in ends.values()]
    count = len(rows[0]) // 2
    headings = ["lowest", *[""] * (2 * count - 2), "highest"]
    figure = plot_image_rows(rows, list(ends), headings, group=count)
    shown = [name for name in colors if name in sets]
    handles = [Patch(color=colors[name], label=name) for name in shown]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), borderaxespad=0)
    return figure
