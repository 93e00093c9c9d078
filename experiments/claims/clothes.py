"""Drawn clothes: grey garments of 28x28 pixels on black, in place of FashionMNIST.

Outlines of eight kinds vary in shape and position. Their inside has folds, shading and the weave or
stripes of a fabric, so that neighbouring pixels differ more than those of handwritten digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

SIZE, FINE = 28, 4
"""Pixels a side, and points of the outline's grid in a pixel."""

# Right halves of the outlines from the top down, in units of half the frame: (right, down).
OUTLINES = {
    "shirt": ((0.2, -0.8), (0.5, -0.7), (0.95, -0.35), (0.75, -0.1), (0.5, -0.3), (0.5, 0.8)),
    "pullover": ((0.2, -0.8), (0.5, -0.7), (0.8, 0.1), (0.85, 0.7), (0.65, 0.7), (0.5, 0.8)),
    "trousers": ((0.4, -0.9), (0.45, -0.4), (0.5, 0.9), (0.15, 0.9), (0.05, -0.3)),
    "dress": ((0.25, -0.9), (0.3, -0.3), (0.35, -0.1), (0.65, 0.9)),
    "skirt": ((0.35, -0.6), (0.4, -0.4), (0.75, 0.7)),
    "bag": ((0.2, -0.7), (0.3, -0.3), (0.8, -0.3), (0.85, 0.6)),
}
# Whole outlines of what is not symmetric.
SHOES = {
    "shoe": ((-0.9, 0.1), (-0.5, 0.0), (0.0, -0.3), (0.85, -0.3), (0.9, 0.4), (-0.9, 0.4)),
    "boot": ((0.0, -0.9), (0.7, -0.9), (0.75, 0.8), (-0.8, 0.8), (-0.8, 0.5), (-0.1, 0.2)),
}
KINDS = (*OUTLINES, *SHOES)


def draw(kind: str, rng: Generator) -> np.ndarray:
    """Return a garment as uint8 (28, 28)."""
    if kind in OUTLINES:
        half = np.array(OUTLINES[kind]) * rng.normal(1, 0.06, (len(OUTLINES[kind]), 2))
        outline = np.concatenate([half, half[::-1] * (-1, 1)])
    else:
        outline = np.array(SHOES[kind]) * rng.normal(1, 0.06, (len(SHOES[kind]), 2))
    outline = outline * rng.uniform(0.8, 0.98, 2) + rng.uniform(-0.06, 0.06, 2)
    side = SIZE * FINE
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(((outline + 1) * side / 2).ravel().tolist(), fill=255)
    cover = np.asarray(mask.resize((SIZE, SIZE), Image.Resampling.BOX), np.float64) / 255
    return np.rint(cover * fabric(rng)).clip(0, 255).astype(np.uint8)


def fabric(rng: Generator) -> np.ndarray:
    """Return grey levels (28, 28) of cloth: shading, folds, stripes of some pieces, and weave."""
    down, right = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    shade = 1 + rng.normal(0, 0.25) * down + rng.normal(0, 0.25) * right
    turn, pitch, phase = rng.uniform(-0.5, 0.5), rng.uniform(2, 6), rng.uniform(0, 2 * np.pi)
    folds = 1 + 0.08 * np.sin(2 * np.pi * pitch * (right + turn * down) + phase)
    pattern = np.ones_like(shade)
    if rng.random() < 0.3:
        stripes = np.sin(2 * np.pi * rng.uniform(4, 9) * (down if rng.random() < 0.5 else right))
        pattern = 1 - rng.uniform(0.1, 0.5) * (stripes > 0)
    weave = 1 + rng.uniform(0.03, 0.1) * rng.standard_normal((SIZE, SIZE))
    return rng.uniform(70, 235) * shade * folds * pattern * weave


def write(root: Path, train: int = 6000, test: int = 1000) -> None:
    """Write train/clothes and test/clothes with so many images, the kinds in turn; always equal."""
    for stream, (split, count) in enumerate((("train", train), ("test", test))):
        rng = np.random.default_rng([stream, 20])
        folder = root / split / "clothes"
        folder.mkdir(parents=True)
        for i in range(count):
            kind = KINDS[i % len(KINDS)]
            Image.fromarray(draw(kind, rng)).save(folder / f"{i:04d}_{kind}.png")
