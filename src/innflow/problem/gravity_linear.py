"""Linear version of the gravity problem, with an exact posterior.

Columns, stations, units and noise are those of `innflow.problem.gravity`. Prior: Gaussian, with the
mean and, to first order, the covariance of the nonlinear problem. Forward model: the mass of each
column lies in a horizontal sheet at a depth of 1,500 m. Reference posterior: exact.
"""

import numpy as np

from innflow.problem import gravity
from innflow.problem.gaussian import LinearGaussian

SHEET_DEPTH = 1500.0  # m
NOISE, PARAMETERS, OBSERVABLES = gravity.NOISE, gravity.PARAMETERS, gravity.OBSERVABLES

MODEL = LinearGaussian(
    mean=gravity.BACKGROUND,
    covariance=gravity.BACKGROUND[:, None] * gravity.LOG_COVARIANCE * gravity.BACKGROUND,
    matrix=gravity.sensitivity(np.full(len(PARAMETERS), SHEET_DEPTH)),
)
prior, forward, posterior = MODEL.prior(), MODEL.forward, MODEL.draw
