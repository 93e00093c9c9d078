"""Linear problems with Gaussian prior and Gaussian noise, whose posterior is known exactly."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from innflow.errors import InnflowError

# Relative singular value below which single precision data do not determine a direction.
RANK_TOLERANCE = 1e-6


def matern32(points: np.ndarray, sd: float, length: float) -> np.ndarray:
    """Return the Matern-3/2 covariance between points on a line.

    Args:
        points: (P,), in any unit.
        sd: standard deviation at each point.
        length: correlation length, in the unit of the points.

    Returns:
        (P, P), the square of the unit of `sd`.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 4.17.
    """
    distance = np.sqrt(3) * np.abs(points[:, None] - points) / length
    return sd**2 * (1 + distance) * np.exp(-distance)


@dataclass(frozen=True)
class LinearGaussian:
    """The model x ~ N(mean, covariance), y = matrix x + S eps with eps ~ N(0, I).

    Attributes:
        mean: (P,).
        covariance: (P, P), positive definite.
        matrix: (M, P).
    """

    mean: np.ndarray
    covariance: np.ndarray
    matrix: np.ndarray

    def prior(self) -> MultivariateNormal:
        """Return the prior as a torch distribution, in single precision."""
        return MultivariateNormal(
            torch.from_numpy(self.mean).float(),
            scale_tril=torch.from_numpy(np.linalg.cholesky(self.covariance)).float(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the data (B, M) without noise of parameters x (B, P)."""
        return x @ torch.from_numpy(self.matrix).to(x).T

    def moments(self, y: np.ndarray, noise: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (P,) and covariance (P, P) of p(x | y) for data y (M,).

        `noise` is S (M, M), or None for data without noise; the covariance then has lower rank.
        NaN is a missing value.

        Raises:
            InnflowError: no x gives these data.
        """
        factor, observed, shift = self._condition(y, noise)
        size = len(self.mean)
        unseen = np.eye(observed.shape[1])[:size] - observed[:, :size].T @ observed
        spread = factor @ unseen  # times its transpose, as a projector is its own square
        return self.mean + factor @ shift[:size], spread @ spread.T

    def draw(
        self, y: np.ndarray, n: int, rng: np.random.Generator, noise: np.ndarray | None
    ) -> np.ndarray:
        """Return independent draws (n, P) of p(x | y); the arguments are those of `moments`."""
        factor, observed, shift = self._condition(y, noise)
        size = len(self.mean)
        white = rng.standard_normal((n, observed.shape[1]))
        white += shift - (white @ observed.T) @ observed
        return self.mean + white[:, :size] @ factor.T

    def _condition(
        self, y: np.ndarray, noise: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve for the white vector u = (w, eps), where x = mean + L w and y = matrix x + S eps.

        The data determine u along the rows of an orthonormal basis; orthogonal to them it stays
        N(0, I). No covariance is inverted, so this is stable for any noise, including none.

        Returns:
            L (P, P), the basis (rank, P + M), and the mean of u (P + M,).
        """
        factor = np.linalg.cholesky(self.covariance)
        known = ~np.isnan(y)
        matrix = self.matrix[known]
        rows = len(matrix)
        scale = np.zeros((rows, 0)) if noise is None else np.asarray(noise, np.float64)[known]
        residual = np.asarray(y, dtype=np.float64)[known] - matrix @ self.mean
        left, values, basis = np.linalg.svd(
            np.hstack([matrix @ factor, scale]), full_matrices=False
        )
        kept = values > RANK_TOLERANCE * values.max(initial=0.0)
        left, values, basis = left[:, kept], values[kept], basis[kept]
        explained = left.T @ residual
        if np.linalg.norm(residual - left @ explained) > 1e-4 * np.linalg.norm(residual):
            raise InnflowError(
                "posterior: no parameters of the prior give these data exactly; give the standard "
                "deviation of their noise"
            )
        return factor, basis, (explained / values) @ basis
