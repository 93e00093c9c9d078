"""TensorBoard: figures as images, tables as text, and the config as hyperparameters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from innflow.dashboard.naming import Names
    from innflow.dashboard.sink import Picture, Sheet

MOST_ROWS = 100
"""Rows of a table that are shown: thousands would block the browser."""


def prepare(
    node: Mapping[str, Any], earlier: Mapping[str, Any], names: Names, path: str
) -> dict[str, Any]:
    """Return the arguments unchanged: the folder identifies the run."""
    return dict(node)


def begin(logger: Any, path: str) -> dict[str, Any]:
    """Return nothing: the first event creates the file."""
    return {}


def configure(logger: Any, config: Mapping[str, Any], resumed: bool) -> None:
    """Keep the hyperparameters for `conclude`, which logs them with the final metrics."""
    logger.log_hyperparams(dict(config))


def send(
    logger: Any,
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet],
    step: int,
    final: bool,
) -> None:
    """Log figures as images and tables as Markdown."""
    writer = logger.experiment
    for key, picture in figures.items():
        with Image.open(io.BytesIO(picture.png)) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image(key, pixels, step, dataformats="HWC")
        if picture.caption:
            writer.add_text(key, picture.caption, step)
    for key, sheet in tables.items():
        writer.add_text(key, _markdown(sheet), step)


def conclude(logger: Any, metrics: Mapping[str, float], step: int) -> None:
    """Log the final metrics and the hyperparameters."""
    logger.log_hyperparams(logger.hparams, dict(metrics), step)


def _markdown(sheet: Sheet) -> str:
    lines = [sheet.columns, ["---"] * len(sheet.columns), *sheet.rows[:MOST_ROWS]]
    text = "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
    more = len(sheet.rows) - MOST_ROWS
    return text + (f"\n\n{more:,} more rows" if more > 0 else "")
