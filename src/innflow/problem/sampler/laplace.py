"""Importance sampling around the mode, for nonlinear problems with nearly Gaussian posteriors.

The parameters are white coordinates w ~ N(0, I), the data y = f(w) + S eps with eps ~ N(0, I).
The proposal is a Student-t distribution at the mode of p(w | y) with the curvature there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.linalg import solve_triangular
from scipy.stats import multivariate_t

from innflow.errors import InnflowError

Function = Callable[[np.ndarray], np.ndarray]
StudentT = Any  # a frozen scipy.stats.multivariate_t, of a class without a public name

DEGREES = 8  # of freedom, for tails heavier than those of the Gaussian prior


def make_misfit(forward: Function, y: np.ndarray, noise: np.ndarray | None) -> Function:
    """Return w (B, P) -> S^-1 (f(w) - y) (B, M), the misfit in standard deviations.

    `forward` is f of white points (B, P), y the data (M,), `noise` lower triangular S (M, M).

    Raises:
        InnflowError: an observable has no noise.
    """
    if noise is None or not np.all(np.diagonal(noise) > 0):
        raise InnflowError(
            "posterior: this nonlinear problem has a reference only for data with noise in every "
            "observable; give a standard deviation above 0 for each"
        )

    def misfit(w: np.ndarray) -> np.ndarray:
        return solve_triangular(noise, (forward(w) - y).T, lower=True).T

    return misfit


def find_laplace(misfit: Function, size: int, step: float = 0.02) -> StudentT:
    """Return the Student-t at the mode of p(w | y), found by the Levenberg-Marquardt algorithm.

    Args:
        misfit: from `make_misfit`.
        size: P.
        step: step of the central differences that give the Jacobian of the misfit.
    """
    mode, damping = np.zeros(size), 1e-2
    shifts = step * np.vstack([np.eye(size), -np.eye(size)])
    residual = misfit(mode[None])[0]
    for _ in range(100):
        ahead, behind = np.split(misfit(mode + shifts), 2)
        jacobian = (ahead - behind).T / (2 * step)
        precision = np.eye(size) + jacobian.T @ jacobian
        gradient = mode + jacobian.T @ residual
        if gradient @ np.linalg.solve(precision, gradient) < 1e-6 or damping > 1e8:
            break
        trial = mode - np.linalg.solve(precision + damping * np.diag(np.diag(precision)), gradient)
        moved = misfit(trial[None])[0]
        if trial @ trial + moved @ moved < mode @ mode + residual @ residual:
            mode, residual, damping = trial, moved, damping / 10
        else:
            damping *= 10
    return multivariate_t(mode, np.linalg.inv(precision), df=DEGREES)


def weigh(
    misfit: Function, proposal: StudentT, n: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return n proposals (n, P) and their log importance weights (n,), up to a constant."""
    w = proposal.rvs(n, random_state=rng)
    log_target = -((w**2).sum(axis=1) + (misfit(w) ** 2).sum(axis=1)) / 2
    return w, log_target - proposal.logpdf(w)
