"""A vertical seismic profile: layer slownesses from the travel times to receivers in a borehole.

The shot is at the surface, and a receiver sits at the bottom of each of 16 layers of 50 m. The
parameters are the slownesses of the layers in s/km (equal to ms/m), a Gaussian process about
1 / v0(z) with v0 = 1.8 km/s + 0.9/s z, typical of young sediments. The data are first arrivals in
ms, picked with a standard deviation of 1 ms. All is linear and Gaussian: the posterior is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innflow.problem.gaussian import LinearGaussian, matern32

LAYERS = 16
THICKNESS = 50.0  # m
NOISE = 1.0  # ms

_MIDDLE = THICKNESS * (np.arange(LAYERS) + 0.5)
_BOTTOM = THICKNESS * np.arange(1, LAYERS + 1)
_BACKGROUND = 1 / (1.8 + 0.9 * _MIDDLE / 1000)
_FLUCTUATION = matern32(_MIDDLE, sd=0.1, length=150.0)  # of the slowness, relative

PARAMETERS = tuple(f"slowness {z:.0f} m" for z in _MIDDLE)
OBSERVABLES = tuple(f"time {z:.0f} m" for z in _BOTTOM)

MODEL = LinearGaussian(
    mean=_BACKGROUND,
    covariance=_BACKGROUND[:, None] * _FLUCTUATION * _BACKGROUND,
    matrix=THICKNESS * np.tri(LAYERS),
)
prior = MODEL.prior()


def forward(x: Tensor) -> Tensor:
    """Return the travel times (B, 16) in ms through layers of slowness x (B, 16) in s/km."""
    return x @ torch.from_numpy(MODEL.matrix).to(x).T


def posterior(
    y: np.ndarray, n: int, rng: np.random.Generator, noise: np.ndarray | None
) -> np.ndarray:
    """Return exact draws (n, 16) of the slownesses in s/km given the times y (16,) in ms.

    Args:
        y: (16,) travel times in ms.
        n: number of draws.
        rng: source of randomness.
        noise: factor S (16, 16) of the noise covariance in ms, or None for times without noise.

    Returns:
        (n, 16).
    """
    return MODEL.draw(y, n, rng, noise)
