"""Linear version of the gravity problem, with an exact posterior.

Columns, stations, units and noise are those of `innflow.problem.gravity`. Prior: Gaussian, with the
mean and, to first order, the covariance of the nonlinear problem. Forward model: the mass of each
column lies in a horizontal sheet at a depth of 1,500 m. Reference posterior: exact.
"""

import numpy as np
import torch
from torch import Tensor

from innflow.problem import gravity
from innflow.problem.gaussian import LinearGaussian

SHEET_DEPTH = 1500.0  # m
NOISE, PARAMETERS, OBSERVABLES = gravity.NOISE, gravity.PARAMETERS, gravity.OBSERVABLES

MODEL = LinearGaussian(
    mean=gravity.BACKGROUND,
    covariance=gravity.BACKGROUND[:, None] * gravity.LOG_COVARIANCE * gravity.BACKGROUND,
    matrix=gravity.sensitivity(np.full(len(PARAMETERS), SHEET_DEPTH)),
)
prior = MODEL.prior()


def forward(x: Tensor) -> Tensor:
    """Return the gravity anomaly (B, 12) in mGal of depth profiles x (B, 32) in m."""
    return x @ torch.from_numpy(MODEL.matrix).to(x).T


posterior = MODEL.draw
