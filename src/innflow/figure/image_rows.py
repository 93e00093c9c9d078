"""Rows of images with labels, headings and notes; pixels are enlarged by a whole factor."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from innflow.figure.style import DPI, style

GAP = 4
GROUP_GAP = 14
NOTE_LINE = 17
FONT = 8.5
TARGET = 96
"""Approximate size of an image, in pixels of the figure."""


@style()
def plot_image_rows(
    rows: Sequence[np.ndarray],
    labels: Sequence[str],
    columns: Sequence[str] = (),
    notes: Sequence[Sequence[str]] = (),
    block: int = 0,
    group: int = 0,
    margin: int = 0,
    target: int = TARGET,
) -> Figure:
    """Draw rows of images, enlarged by a whole factor.

    Args:
        rows: each (n, C, H, W) uint8, C 1 or 3; rows may differ in n.
        labels: one for each row, drawn to its left.
        columns: headings above the images of the first row.
        notes: for each row a short text under each image.
        block: number of rows between wider gaps; 0 for equal gaps.
        group: number of columns between wider gaps; 0 for equal gaps.
        margin: width left free at the right, in pixels of the figure.
        target: approximate size of an image, in pixels of the figure.
    """
    factor = max(1, round(target / max(rows[0].shape[2:])))
    tall, wide = (factor * side for side in rows[0].shape[2:])
    count = max(len(row) for row in rows)
    width_of_labels = max(map(text_width, labels), default=0)
    left = GAP + width_of_labels + 12 * bool(width_of_labels)
    top = 32 if columns else GAP
    gaps = [i // group * GROUP_GAP if group else 0 for i in range(count)]
    starts = [left + i * (wide + GAP) + gaps[i] for i in range(count)]

    tops, cursor = [], top
    for index in range(len(rows)):
        tops.append(cursor)
        texts = notes[index] if index < len(notes) else ()
        lines = max((text.count("\n") + 1 for text in texts), default=0)
        cursor += tall + lines * NOTE_LINE + GAP
        if block and (index + 1) % block == 0 and index + 1 < len(rows):
            cursor += GROUP_GAP
    canvas = np.full((cursor, starts[-1] + wide + GAP + margin, 3), 255, dtype=np.uint8)
    for y, row in zip(tops, rows, strict=True):
        for x, picture in zip(starts, row, strict=False):
            pixels = picture.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1)
            canvas[y : y + tall, x : x + wide] = pixels

    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(canvas, extent=(0, width, height, 0), interpolation="none")
    axis.set_axis_off()
    for y, label in zip(tops, labels, strict=True):
        axis.text(left - 10, y + tall / 2, label, ha="right", va="center", linespacing=1.3)
    for x, heading in zip(starts, columns, strict=False):
        axis.text(x + wide / 2, top - 8, heading, ha="center", va="bottom", fontsize=FONT - 1)
    for y, texts in zip(tops, notes, strict=False):
        for x, text in zip(starts, texts, strict=False):
            place = x + wide / 2, y + tall + 3
            axis.text(*place, text, ha="center", va="top", fontsize=6.5, color="#444444")
    return figure


def text_width(label: str, size: float = FONT) -> int:
    """Return the approximate width in pixels of the longest line of a label."""
    return round(max((len(line) for line in label.split("\n")), default=0) * size * 0.6 * DPI / 72)
