"""Parts of animal faces: symmetric outlines, pose and colour of the fur."""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from innflow.data.image.drawing.canvas import smooth

SIDES = (-1, 1)


class Pose:
    """A small rotation of a face: points near its middle move most, as on a ball."""

    def __init__(self, rng: Generator) -> None:
        self.yaw, self.nod = rng.normal(0, 0.13), rng.normal(0, 0.07)

    def turn(self, points: ArrayLike, much: float = 1.0) -> np.ndarray:
        """Return rotated points (N, 2); `much` scales the shift of parts that stick out."""
        points = np.asarray(points)
        bulge = np.clip(1.1 - 0.6 * (points**2).sum(axis=1, keepdims=True), 0.2, 1)
        return points + much * bulge * [self.yaw, self.nod]


def symmetric(right: list[tuple[float, float]]) -> np.ndarray:
    """Return a symmetric outline from the corners of its right half, top to bottom."""
    return smooth(*right, *((-x, y) for x, y in right[-2:0:-1]))


def dyed(fur: np.ndarray, rng: Generator) -> np.ndarray:
    """Return the three colours of a fur with random brightness and warmth."""
    warmth = rng.normal(0, 0.03) * np.array([1, 0, -1])
    return (fur * (rng.normal(1, 0.06) + warmth)).astype(np.float32)
