"""Importance sampling around the mode, for nonlinear problems with nearly Gaussian posteriors.

The parameters are white coordinates w ~ N(0, I), the data y = f(w) + S eps with eps ~ N(0, I).
The proposal is a Student-t distribution at the mode of p(w | y) with the curvature there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from innflow.errors import InnflowError

Function = Callable[[np.ndarray], np.ndarray]

DEGREES = 8  # of freedom, for tails heavier than those of the Gaussian prior


@dataclass(frozen=True)
class StudentT:
    """A Student-t distribution with 8 degrees of freedom in P dimensions.

    Attributes:
        mean: (P,).
        factor: (P, P), lower triangular factor of the scale matrix.
    """

    mean: np.ndarray
    factor: np.ndarray

    def sample(self, n: int, rng: Generator) -> np.ndarray:
        """Return draws (n, P)."""
        white = rng.standard_normal((n, len(self.mean)))
        stretch = np.sqrt(rng.chisquare(DEGREES, (n, 1)) / DEGREES)
        return self.mean + (white / stretch) @ self.factor.T

    def log_prob(self, w: np.ndarray) -> np.ndarray:
        """Return the log density in nats (B,) at points (B, P)."""
        size = len(self.mean)
        distance = (solve_triangular(self.factor, (w - self.mean).T, lower=True) ** 2).sum(axis=0)
        power = (DEGREES + size) / 2
        constant = gammaln(power) - gammaln(DEGREES / 2) - size / 2 * np.log(DEGREES * np.pi)
        log_scale = np.log(np.diagonal(self.factor)).sum()
        return constant - log_scale - power * np.log1p(distance / DEGREES)


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
        step: of the central differences that give the Jacobian of the misfit.
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
    return StudentT(mode, np.linalg.cholesky(np.linalg.inv(precision)))


def weigh(
    misfit: Function, proposal: StudentT, n: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return n proposals (n, P) and their log importance weights (n,), up to a constant."""
    w = proposal.sample(n, rng)
    log_target = -((w**2).sum(axis=1) + (misfit(w) ** 2).sum(axis=1)) / 2
    return w, log_target - proposal.log_prob(w)
