"""Reference draws from nonlinear problems in white coordinates, by importance sampling.

White coordinates w ~ N(0, I) stand for the parameters, and the data are y = f(w) + S eps with
eps ~ N(0, I). The proposals come from a Student-t around the mode of p(w | y) with the curvature
there, or from a mixture of such fitted to weighted draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from innflow.errors import InnflowError

Function = Callable[[np.ndarray], np.ndarray]

DEGREES = 8  # of freedom: tails heavier than those of a Gaussian prior


@dataclass(frozen=True)
class StudentMixture:
    """A mixture of K Student-t distributions with 8 degrees of freedom in P dimensions.

    Attributes:
        weights: (K,), sum 1.
        means: (K, P).
        factors: (K, P, P), lower triangular factors of the scale matrices.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def sample(self, n: int, rng: Generator) -> np.ndarray:
        """Return draws (n, P)."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        white = rng.standard_normal((n, self.means.shape[1], 1))
        stretch = np.sqrt(rng.chisquare(DEGREES, (n, 1)) / DEGREES)
        return self.means[component] + (self.factors[component] @ white)[..., 0] / stretch

    def log_prob(self, w: np.ndarray) -> np.ndarray:
        """Return the log density in nats (B,) at points (B, P)."""
        return logsumexp(self._log_joint(w)[0], axis=1)

    def refit(self, w: np.ndarray, weights: np.ndarray) -> StudentMixture:
        """Return the mixture after one step of expectation maximization.

        Args:
            w: (B, P) points.
            weights: (B,), sum 1.

        Source: Cappe et al., Adaptive importance sampling in general mixture classes, Statistics
        and Computing 18 (2008).
        """
        log_joint, distance = self._log_joint(w)
        share = weights[:, None] * np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        pull = share * (DEGREES + w.shape[1]) / (DEGREES + distance)
        fitted = []
        for k, mass in enumerate(share.sum(axis=0)):
            # Too few points leave a component without a covariance: it goes.
            if mass**2 < 3 * w.shape[1] * (share[:, k] ** 2).sum():
                continue
            mean = pull[:, k] @ w / pull[:, k].sum()
            scale = (pull[:, k] * (w - mean).T) @ (w - mean) / mass
            fitted.append((mass, mean, np.linalg.cholesky(scale)))
        if not fitted:
            return self
        masses, means, factors = (np.stack(column) for column in zip(*fitted, strict=True))
        return StudentMixture(masses / masses.sum(), means, factors)

    def _log_joint(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log(weight x density) and the squared Mahalanobis distance, both (B, K)."""
        size = w.shape[1]
        distance = np.stack(
            [
                (solve_triangular(factor, (w - mean).T, lower=True) ** 2).sum(axis=0)
                for mean, factor in zip(self.means, self.factors, strict=True)
            ],
            axis=1,
        )
        power = (DEGREES + size) / 2
        log_scale = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        constant = gammaln(power) - gammaln(DEGREES / 2) - size / 2 * np.log(DEGREES * np.pi)
        log_density = constant - log_scale - power * np.log1p(distance / DEGREES)
        return np.log(self.weights) + log_density, distance


def make_misfit(forward: Function, y: np.ndarray, noise: np.ndarray | None) -> Function:
    """Return w (B, P) -> S^-1 (f(w) - y) (B, M), the misfit in standard deviations.

    Args:
        forward: f, of white points (B, P).
        y: (M,) data.
        noise: lower triangular S (M, M).

    Raises:
        InnflowError: where an observable has no noise.
    """
    if noise is None or not np.all(np.diagonal(noise) > 0):
        raise InnflowError(
            "posterior: this nonlinear problem has a reference only for data with noise in every "
            "observable; give a standard deviation above 0 for each"
        )

    def misfit(w: np.ndarray) -> np.ndarray:
        return solve_triangular(noise, (forward(w) - y).T, lower=True).T

    return misfit


def find_laplace(misfit: Function, size: int, step: float = 0.02) -> StudentMixture:
    """Return the Student-t around the mode of p(w | y), found by Levenberg and Marquardt.

    Args:
        misfit: as `make_misfit` returns it.
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
    factor = np.linalg.cholesky(np.linalg.inv(precision))
    return StudentMixture(np.ones(1), mode[None], factor[None])


def weigh(
    misfit: Function, proposal: StudentMixture, n: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return n proposals (n, P) and their log importance weights (n,), up to a constant."""
    w = proposal.sample(n, rng)
    log_target = -((w**2).sum(axis=1) + (misfit(w) ** 2).sum(axis=1)) / 2
    return w, log_target - proposal.log_prob(w)
