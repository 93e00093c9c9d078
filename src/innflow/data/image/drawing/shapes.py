"""Shapes of random outline and material, drawn like the other subjects but of no kind of object."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from innflow.data.image.drawing.canvas import Canvas, ellipse, hue, jitter, mirror, mix, smooth
from innflow.data.image.drawing.faces import SIDES

Material = Callable[[Canvas, np.ndarray, np.ndarray], np.ndarray]
"""Function from a canvas and two colours to the colour of every pixel (H, W, 3)."""


def shapes(canvas: Canvas) -> None:
    """Draw one to eight shapes, each smaller than the one before, single or as mirrored pairs."""
    rng = canvas.rng
    canvas.place(rng.uniform(0.5, 1.0), rng.normal(0, 0.3), jitter(rng))
    materials: list[Material] = [_plain, _fur, _stripes, _spots, _marble]
    size = rng.uniform(0.8, 1.4)
    for number in range(rng.integers(1, 9)):
        reach = size * rng.uniform(0.6, 1.0)
        outline = _outline(rng, reach) + rng.uniform(-1, 1, 2) * max(0.2, 1 - reach)
        paired = number > 0 and rng.random() < 0.5
        outlines = [mirror(outline, side) for side in (SIDES if paired else SIDES[1:])]
        mask = canvas.mask(*outlines, blur=float(rng.choice([0.0, 0.05])))
        if rng.random() < 0.6:
            canvas.cast_shadow(*outlines)
        colours = hue(rng, (0.0, 0.8), (0.1, 1.2)), hue(rng, (0.0, 0.8), (0.1, 1.2))
        skin = materials[rng.integers(len(materials))](canvas, *colours)
        canvas.paint(mask, np.clip(skin, 0, 1), rng.choice([0.6, 1.0]))
        if rng.random() < 0.6:
            canvas.shade(mask, 1.1, 1.1, rng.uniform(0.2, 0.5))
        size *= rng.uniform(0.5, 0.95)


def _outline(rng: Generator, reach: float) -> np.ndarray:
    """Return a polygon, a smooth curve or an ellipse (N, 2) around 0, at most `reach` wide."""
    count = int(rng.integers(3, 9))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = reach * rng.uniform(0.6, 1.0, count)
    corners = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outlines = [corners, smooth(*map(tuple, corners)), ellipse(0, 0, radius[0], radius[1])]
    return outlines[rng.integers(len(outlines))]


def _plain(canvas: Canvas, colour: np.ndarray, other: np.ndarray) -> np.ndarray:
    share = np.clip(0.5 + 0.4 * (canvas.u + canvas.v), 0, 1)
    return mix(colour, colour + canvas.rng.uniform(0, 0.4) * (other - colour), share)


def _fur(canvas: Canvas, colour: np.ndarray, other: np.ndarray) -> np.ndarray:
    hairs = canvas.rng.uniform(0.02, 0.06) * canvas.fur(int(canvas.rng.integers(60, 150)))
    patches = np.clip(canvas.rng.uniform(0, 2) * canvas.noise(6), 0, 1)
    return mix(colour, other, patches) + hairs[..., None]


def _stripes(canvas: Canvas, colour: np.ndarray, other: np.ndarray) -> np.ndarray:
    angle, waves = canvas.rng.uniform(0, np.pi), canvas.rng.uniform(4, 16)
    across = canvas.u * np.cos(angle) + canvas.v * np.sin(angle) + 0.1 * canvas.noise(5)
    return mix(colour, other, np.clip(2 * np.sin(waves * across), 0, 1))


def _spots(canvas: Canvas, colour: np.ndarray, other: np.ndarray) -> np.ndarray:
    cells = int(canvas.rng.integers(6, 30))
    return mix(colour, other, np.clip(4 * (canvas.noise(cells) - 0.5), 0, 1))


def _marble(canvas: Canvas, colour: np.ndarray, other: np.ndarray) -> np.ndarray:
    grain = canvas.noise(5) + 0.5 * canvas.noise(12) + 0.25 * canvas.noise(40)
    return mix(colour, other, np.clip(0.5 + 0.4 * grain, 0, 1))
