"""Rows of images with labels, headings and notes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from innflow.figure.mosaic import FONT, GAP, blank, paste, show, text_width, whole_factor
from innflow.figure.style import style

BLOCK_GAP = 14
NOTE_LINE = 17


@style()
def plot_image_rows(
    rows: Sequence[np.ndarray],
    labels: Sequence[str],
    columns: Sequence[str] = (),
    notes: Sequence[Sequence[str]] = (),
    block: int = 0,
) -> Figure:
    """Draw rows of images, each pixel enlarged to a square of whole width.

    Args:
        rows: each (n, C, H, W) uint8, C 1 or 3; rows may differ in n.
        labels: one for each row, drawn to its left.
        columns: headings above the images of the first row.
        notes: for each row one short text under each image.
        block: number of rows of a group; a wider gap follows each group. 0: no groups.
    """
    height, width = rows[0].shape[2:]
    factor = whole_factor(rows[0])
    tall, wide = height * factor, width * factor
    count = max(len(row) for row in rows)
    width_of_labels = max(map(text_width, labels), default=0)
    left = GAP + width_of_labels + 12 * bool(width_of_labels)
    top = 32 if columns else GAP

    tops, cursor = [], top
    for index in range(len(rows)):
        tops.append(cursor)
        lines = max((text.count("\n") + 1 for text in _at(notes, index)), default=0)
        cursor += tall + lines * NOTE_LINE + GAP
        if block and (index + 1) % block == 0:
            cursor += BLOCK_GAP
    full_width = left + count * (wide + GAP)
    full_height = cursor - (BLOCK_GAP if block and len(rows) % block == 0 else 0)

    canvas = blank(full_height, full_width)
    for y, row in zip(tops, rows, strict=True):
        for index, picture in enumerate(row):
            paste(canvas, picture, left + index * (wide + GAP), y, factor)
    figure, axis = show(canvas)
    for y, label in zip(tops, labels, strict=True):
        axis.text(left - 10, y + tall / 2, label, ha="right", va="center", linespacing=1.3)
    for index, heading in enumerate(columns):
        x = left + index * (wide + GAP) + wide / 2
        axis.text(x, top - 8, heading, ha="center", va="bottom", fontsize=FONT - 1)
    for y, texts in zip(tops, notes, strict=False):
        for index, text in enumerate(texts):
            x = left + index * (wide + GAP) + wide / 2
            axis.text(x, y + tall + 3, text, ha="center", va="top", fontsize=6.5, color="#444444")
    return figure


def _at(notes: Sequence[Sequence[str]], row: int) -> Sequence[str]:
    return notes[row] if row < len(notes) else ()
