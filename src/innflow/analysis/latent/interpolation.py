"""Interpolation between images in latent space."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import ImageAnalysis, Study, to_pixels
from innflow.figure.image_rows import plot_image_rows


@dataclass
class Interpolation(ImageAnalysis):
    """Interpolate between pairs of test images, linearly and along a great circle.

        >>> Interpolation(pairs=2)
        Interpolation(pairs=2, steps=9)

    Attributes:
        pairs: number of pairs of test images.
        steps: number of images of a path, both ends included.
    """

    pairs: int = 4
    steps: int = 9

    def __call__(self, study: Study) -> Findings:
        """Draw two rows per pair."""
        self.check(study)
        latent = study.measure("test").latent
        steps = study.count(self.steps, 3)
        pairs = min(study.count(self.pairs, 2), len(latent) // 2)
        chosen = np.random.default_rng(study.seed).permutation(len(latent))[: 2 * pairs]
        shares = np.linspace(0, 1, steps)
        walks = []
        for a, b in latent[chosen].reshape(pairs, 2, -1):
            walks += [linear(a, b, shares), spherical(a, b, shares)]
        rows = np.split(to_pixels(study.decode(np.concatenate(walks), "interpolate")), len(walks))
        norms = np.linalg.norm(latent[chosen], axis=1)
        middle = np.mean([np.linalg.norm(walk[steps // 2]) for walk in walks[::2]])
        text = (
            f"{pairs} pairs of test images, {steps} steps each. The mean latent norm falls from "
            f"{norms.mean():.1f} at the ends to {middle:.1f} in the middle of a straight line, "
            f"where a typical draw of the standard normal has {latent.shape[1] ** 0.5:.1f}; on "
            "the great circle it changes linearly between both ends."
        )
        plot = Plot(
            plot_image_rows(rows, ["linear", "spherical"] * pairs, block=2),
            "From a test image on the left to another on the right; of each pair of rows the upper "
            "is linear, the lower spherical interpolation.",
        )
        return Findings("Interpolation", text, figures={"interpolation": plot})


def linear(a: np.ndarray, b: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return points on the line from a to b, (S, D) for shares (S,) in [0, 1]."""
    return a + shares[:, None] * (b - a)


def spherical(a: np.ndarray, b: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return points on the great circle from a to b, (S, D), with linearly changing norm.

    From Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.
    """
    long, wide = np.linalg.norm(a), np.linalg.norm(b)
    if min(long, wide) == 0:
        return linear(a, b, shares)
    u, v = a / long, b / wide
    angle = np.arccos(np.clip(u @ v, -1, 1))
    # Nearly parallel vectors: the circle is close to the line. Opposite: it is not unique.
    if np.sin(angle) < 1e-6:
        return linear(a, b, shares)
    first, second = np.sin((1 - shares) * angle), np.sin(shares * angle)
    direction = (first[:, None] * u + second[:, None] * v) / np.sin(angle)
    return direction * (long + shares * (wide - long))[:, None]
