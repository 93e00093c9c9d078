"""Backgrounds of drawn photographs, independent of the subject."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from innflow.data.image.drawing.canvas import SUPERSAMPLE, Canvas, ellipse, hue


def background(canvas: Canvas) -> None:
    """Fill the canvas with a room, a field, planks, cloth or lights out of focus."""
    rng = canvas.rng
    scenes: list[Callable[[Canvas], np.ndarray]] = [_room, _field, _planks, _cloth, _lights]
    image = scenes[rng.integers(len(scenes))](canvas)
    image = image + 0.02 * canvas.noise(48)[..., None] + 0.05 * canvas.noise(6)[..., None]
    soft = Image.fromarray((255 * np.clip(image, 0, 1)).astype(np.uint8))
    soft = soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5) * SUPERSAMPLE))
    canvas.image = np.asarray(soft, np.float32) / 255


def _room(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    wall = hue(rng, (0.05, 0.4), (0.45, 0.95))
    floor = hue(rng, (0.15, 0.5), (0.25, 0.6))
    edge = canvas.y + rng.uniform(-0.2, 0.2) * canvas.x > rng.uniform(0.1, 0.8)
    image = np.where(edge[..., None], floor, wall)
    if rng.random() < 0.6:
        left, width, bottom = rng.uniform(-1, 0.6), rng.uniform(0.3, 0.8), rng.uniform(-0.6, 0.2)
        frame = (np.abs(canvas.x - left - width / 2) < width / 2) & (canvas.y < bottom)
        image = np.where((frame & ~edge)[..., None], hue(rng, (0.1, 0.6), (0.4, 1.0)), image)
    return image


def _field(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    grass = rng.uniform((0.2, 0.4, 0.1), (0.5, 0.65, 0.3)).astype(np.float32)
    sky = rng.uniform((0.5, 0.7, 0.85), (0.8, 0.9, 1.0)).astype(np.float32)
    blades = 0.08 * canvas.noise(40) + 0.08 * canvas.noise(14)
    horizon = rng.uniform(-1.6, 0.1) + 0.08 * canvas.noise(5)
    mix = np.clip((canvas.y - horizon) * 6 + 0.5, 0, 1)[..., None]
    return mix * (grass + blades[..., None]) + (1 - mix) * (sky + 0.15 * canvas.y[..., None])


def _planks(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    wood = np.array([0.6, 0.43, 0.28], np.float32) * rng.uniform(0.6, 1.4)
    across, along = _turned(canvas)
    across = across + 3
    board, inside = np.divmod(across * rng.uniform(1.5, 4), 1)
    tone = 0.1 * rng.standard_normal(24, np.float32)[board.astype(int)]
    grain = 0.05 * np.sin(45 * across + 3 * np.sin(2 * along) + 2 * canvas.noise(6))
    gap = np.where(inside < 0.07, np.float32(0.55), np.float32(1))
    return (wood + (tone + grain)[..., None]) * gap[..., None]


def _cloth(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    base, other = hue(rng, (0.1, 0.7), (0.3, 0.95)), hue(rng, (0.1, 0.7), (0.3, 0.95))
    waves = rng.uniform(6, 16)
    across, along = _turned(canvas)
    weave = np.sin(waves * across) > rng.uniform(0.0, 0.8)
    if rng.random() < 0.5:
        weave = weave ^ (np.sin(waves * along) > 0.3)
    folds = 0.09 * canvas.noise(4)
    strength = rng.uniform(0.0, 0.7)
    return base + strength * weave[..., None] * (other - base) + folds[..., None]


def _lights(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    canvas.image = hue(rng, (0.2, 0.7), (0.1, 0.6)) + 0.12 * canvas.noise(4)[..., None]
    for _ in range(rng.integers(6, 18)):
        disc = ellipse(*rng.uniform(-1, 1, 2), *([rng.uniform(0.08, 0.28)] * 2))
        canvas.fill(disc, hue(rng, (0.1, 0.6), (0.6, 1.0)), rng.uniform(0.2, 0.6))
    return canvas.image


def _turned(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of the frame rotated by a random angle."""
    angle = canvas.rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return canvas.x * cos + canvas.y * sin, canvas.y * cos - canvas.x * sin
