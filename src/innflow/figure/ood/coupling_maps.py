"""Log-scale and shift maps of couplings, in the layout of the image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from innflow.figure import mosaic
from innflow.figure.mosaic import FONT, GAP
from innflow.figure.style import style

HEAD = 30
SUBHEAD = 26
GROUP_GAP = 16
FOOT = 58


@style()
def plot_coupling_maps(
    pictures: np.ndarray,
    names: Sequence[str],
    log_scales: np.ndarray,
    shifts: np.ndarray,
    labels: Sequence[str],
) -> Figure:
    """Draw log s and t, one row for each coupling and two columns for each image.

    Each row has one colour scale for log s and one for t, symmetric about 0 and the same for all
    images; they are written at its left.

    Args:
        pictures: (N, C, H, W) uint8, drawn above their columns.
        names: of the pictures.
        log_scales: (K, N, H, W) maps of K couplings.
        shifts: (K, N, H, W).
        labels: of the K couplings.
    """
    factor = mosaic.whole_factor(pictures, 84)
    tall, wide = pictures.shape[2] * factor, pictures.shape[3] * factor
    limits = [(map_limit(s), map_limit(t)) for s, t in zip(log_scales, shifts, strict=True)]
    texts = [
        f"{label}\n|log s| ≤ {s:.2g}\n|t| ≤ {t:.2g}"
        for label, (s, t) in zip(labels, limits, strict=True)
    ]
    left = max(mosaic.text_width(text, FONT - 1.5) for text in texts) + 12
    group = 2 * wide + GAP + GROUP_GAP
    top = HEAD + tall + SUBHEAD
    width = left + len(names) * group
    canvas = mosaic.blank(top + len(labels) * (tall + GAP) + FOOT, width)
    starts = [left + index * group for index in range(len(names))]
    for x, picture in zip(starts, pictures, strict=True):
        mosaic.paste(canvas, picture, x + (wide + GAP) // 2, HEAD, factor)
    for row, (limit_s, limit_t) in enumerate(limits):
        y = top + row * (tall + GAP)
        for x, s, t in zip(starts, log_scales[row], shifts[row], strict=True):
            mosaic.paste(canvas, mosaic.diverging_pixels(s, limit_s), x, y, factor)
            mosaic.paste(canvas, mosaic.diverging_pixels(t, limit_t), x + wide + GAP, y, factor)
    bar = min(240, width // 3)
    foot = canvas.shape[0] - FOOT + 14
    middle = left + (width - left - GROUP_GAP) // 2
    start = middle - bar // 2
    canvas[foot : foot + 16, start : start + bar] = mosaic.diverging_bar(bar, 16)
    figure, axis = mosaic.show(canvas)
    for x, name in zip(starts, names, strict=True):
        axis.text(x + wide + GAP / 2, HEAD - 6, name, ha="center", va="bottom", fontsize=FONT)
        for column, title in enumerate(("log s", "t")):
            centre = x + column * (wide + GAP) + wide / 2
            axis.text(centre, top - 5, title, ha="center", va="bottom", fontsize=FONT - 1)
    for row, text in enumerate(texts):
        y = top + row * (tall + GAP) + tall / 2
        axis.text(left - 8, y, text, ha="right", va="center", fontsize=FONT - 1.5, linespacing=1.3)
    for share, text in ((0.0, "$-$ limit"), (0.5, "0"), (1.0, "+ limit")):
        axis.text(start + share * bar, foot + 20, text, ha="center", va="top", fontsize=FONT - 1)
    return figure


def map_limit(maps: np.ndarray) -> float:
    """Return the 99.5% quantile of the absolute values other than 0, to limit a colour scale."""
    sizes = np.abs(maps[maps != 0])
    return float(np.quantile(sizes, 0.995)) if sizes.size else 0.0
