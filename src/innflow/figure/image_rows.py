"""Pictures in labelled rows: samples, originals beside regenerated, interpolations, walks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from innflow.figure.style import DPI, style

GAP = 4
BLOCK_GAP = 14
TARGET = 96
NOTE_LINE = 17
FONT = 8.5


@style()
def plot_image_rows(
    rows: Sequence[np.ndarray],
    labels: Sequence[str],
    columns: Sequence[str] = (),
    notes: Sequence[Sequence[str]] = (),
    block: int = 0,
) -> Figure:
    """Draw rows of pictures, enlarged by a whole factor, so that a pixel stays a pixel.

    Args:
        rows: each (n, C, H, W) uint8, C 1 or 3; rows may differ in n.
        labels: one for each row, drawn to its left.
        columns: headings above the pictures of the first row.
        notes: for each row one short text under each picture.
        block: rows that belong together; a wider gap follows each block. 0: no blocks.
    """
    height, width = rows[0].shape[2:]
    factor = max(1, round(TARGET / max(height, width)))
    tall, wide = height * factor, width * factor
    count = max(len(row) for row in rows)
    letters = max((len(line) for label in labels for line in label.split("\n")), default=0)
    left = GAP + round(letters * FONT * 0.6 * DPI / 72) + 12 * bool(letters)
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

    # Pictures and figure share one raster: a pixel of the canvas is a pixel of the saved file.
    canvas = np.full((full_height, full_width, 3), 255, dtype=np.uint8)
    for y, row in zip(tops, rows, strict=True):
        for index, picture in enumerate(row):
            x = left + index * (wide + GAP)
            canvas[y : y + tall, x : x + wide] = _enlarged(picture, factor)
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(canvas, extent=(0, full_width, full_height, 0), interpolation="none")
    axis.set_axis_off()
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


def _enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    pixels = picture.transpose(1, 2, 0)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
