"""TensorBoard: figures as images, tables as text, and the config as hyperparameters."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from innflow.dashboard.sink import Pictures, Sheet, Sheets, Sink

MOST_ROWS = 100
"""Rows of a table that are shown: thousands would block the browser."""


class TensorBoard(Sink):
    """Event files; the folder identifies the run."""

    def send(self, logger: Any, figures: Pictures, tables: Sheets, step: int, final: bool) -> None:
        """Log figures as images and tables as Markdown."""
        writer = logger.experiment
        for key, picture in figures.items():
            with Image.open(io.BytesIO(picture.png)) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(key, pixels, step, dataformats="HWC")
            if picture.caption:
                writer.add_text(key, picture.caption, step)
        for key, sheet in tables.items():
            writer.add_text(key, _to_markdown(sheet), step)

    def conclude(self, logger: Any, metrics: Mapping[str, float], step: int) -> None:
        """Log the final metrics and the hyperparameters, which HParams shows together."""
        logger.log_hyperparams(logger.hparams, dict(metrics), step)


def _to_markdown(sheet: Sheet) -> str:
    lines = [sheet.columns, ["---"] * len(sheet.columns), *sheet.rows[:MOST_ROWS]]
    text = "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
    more = len(sheet.rows) - MOST_ROWS
    return text + (f"\n\n{more:,} more rows" if more > 0 else "")
