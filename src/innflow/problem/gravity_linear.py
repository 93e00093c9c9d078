"""The linear twin of the gravity problem: every column is a sheet, so the posterior is exact.

Columns, stations, units and noise are those of `innflow.problem.gravity`. The mass of a column is
squeezed into a horizontal sheet at a depth of 1,500 m, and the prior of the depth profile is
Gaussian, with the mean and (to first order) the covariance of the nonlinear problem.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from innflow.problem.gaussian import LinearGaussian
from innflow.problem.gravity import (
    BACKGROUND,
    LOG_COVARIANCE,
    NOISE,
    OBSERVABLES,
    PARAMETERS,
    sensitivity,
)

__all__ = ["MODEL", "NOISE", "OBSERVABLES", "PARAMETERS", "forward", "posterior", "prior"]

SHEET_DEPTH = 1500.0  # m

MODEL = LinearGaussian(
    mean=BACKGROUND,
    covariance=BACKGROUND[:, None] * LOG_COVARIANCE * BACKGROUND,
    matrix=sensitivity(np.full(len(BACKGROUND), SHEET_DEPTH)),
)
prior = MODEL.prior()


def forward(x: Tensor) -> Tensor:
    """Return the gravity anomaly (B, 12) in mGal of depth profiles x (B, 32) in m."""
    return x @ torch.from_numpy(MODEL.matrix).to(x).T


def posterior(
    y: np.ndarray, n: int, rng: np.random.Generator, noise: np.ndarray | None
) -> np.ndarray:
    """Return exact draws (n, 32) of the depth profile in m given the anomaly y (12,) in mGal.

    Args:
        y: (12,) anomaly in mGal.
        n: number of draws.
        rng: source of randomness.
        noise: factor S (12, 12) of the noise covariance in mGal, or None for data without noise.

    Returns:
        (n, 32).
    """
    return MODEL.draw(y, n, rng, noise)
