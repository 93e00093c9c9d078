"""Drawn photographs, one per seed.

It does not import torch, as all drawing processes import it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from innflow.data.image.drawing.canvas import Canvas
from innflow.data.image.drawing.cat import cat
from innflow.data.image.drawing.dog import dog
from innflow.data.image.drawing.scenes import background
from innflow.data.image.drawing.shapes import shapes
from innflow.data.image.drawing.things import beachball, flower

SUBJECTS: dict[str, Callable[[Canvas], None]] = {
    "cat": cat,
    "dog": dog,
    "beachball": beachball,
    "flower": flower,
    "shapes": shapes,
}


def draw(subject: str, seed: list[int], size: int) -> Image.Image:
    """Return a drawn photograph of a subject, the same for the same seed."""
    canvas = Canvas(np.random.default_rng(seed), size)
    background(canvas)
    SUBJECTS[subject](canvas)
    return canvas.finish()


def draw_file(path: Path, subject: str, seed: list[int], size: int) -> None:
    """Save a drawn photograph."""
    draw(subject, seed, size).save(path)
