"""A two-sample test of a posterior at a single observation (L-C2ST)."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist, pdist

from innflow.errors import InnflowError

FEWEST = 20
"""Smallest number of simulations."""
MOST = 2000
"""Largest number of simulations; the classifier costs their cube."""
POINTS, SWAPS = 300, 4999
"""Points at an observation where the classifier is evaluated, and random labellings."""
RIDGE, WIDTH = 10.0, 2.0
"""Ridge, and squared width of the kernel of z for each of its dimensions.

Chosen by the power against shifts, widths and dependence on y of 1,000 synthetic latents in 2 and 5
dimensions.
"""


class LocalTest:
    """Test p(x | y) = q(x | y) at single observations by a classifier of latents.

    A calibrated conditional flow maps the true parameters of simulations to latents z that are
    standard normal whatever y is. The classifier separates pairs (z, y) of simulations from pairs
    of normal draws with the same y; its mean square score over normal draws at an observation is
    the statistic, and labels swapped at random within the pairs give its distribution under the
    null hypothesis. From Linhart, Gramfort and Rodrigues, "L-C2ST: Local Diagnostics for Posterior
    Approximations in Simulation-Based Inference" (arXiv:2306.03580), with kernel ridge regression
    in place of their neural network, for which all labellings share one factorisation. The kernel
    k(z, z') (1 + k(y, y')) of two Gaussians detects differences at all observations and local ones.

        >>> rng = np.random.default_rng(0)
        >>> y = rng.normal(size=(500, 1))
        >>> z = rng.normal(size=(500, 2)) * np.where(y > 0, 0.5, 1.0)  # too wide a posterior
        >>> test = LocalTest(z, y, rng)
        >>> test([1.0]) < 0.01, test([-1.0]) < 0.01
        (True, False)

    Args:
        z: latents (N, K) of the true parameters of simulations.
        y: their data (N, M), in comparable units.
        rng: generator of the normal draws and of the labellings.

    Raises:
        InnflowError: if there are fewer than 20 simulations or a value is not finite.
    """

    def __init__(self, z: ArrayLike, y: ArrayLike, rng: np.random.Generator) -> None:
        true, data = (np.asarray(part, np.float64)[:MOST] for part in (z, y))
        if true.ndim != 2 or data.ndim != 2 or len(true) != len(data) or len(true) < FEWEST:
            raise InnflowError(
                f"L-C2ST: expected z (N, K) and y (N, M) of {FEWEST} rows or more, got "
                f"{true.shape} and {data.shape}"
            )
        if not (np.isfinite(true).all() and np.isfinite(data).all()):
            raise InnflowError("L-C2ST: a latent or a datum is not finite")
        self._rows = np.concatenate([true, rng.standard_normal(true.shape)])
        self._y = data
        self._width_z = np.sqrt(WIDTH * true.shape[1])
        distance = pdist(data[:500])
        self._width_y = float(np.median(distance[distance > 0])) if distance.any() else 1.0
        self._points = rng.standard_normal((POINTS, true.shape[1]))
        self._swaps = rng.choice([-1.0, 1.0], (len(true), SWAPS))
        near = np.tile(1 + self._near(data, data), (2, 2))
        gram = self._kernel(self._rows, self._rows) * near
        gram[np.diag_indices_from(gram)] += RIDGE
        self._solved = cho_factor(gram, lower=True)
        self._at_points = self._kernel(self._rows, self._points)

    def __call__(self, y: ArrayLike) -> float:
        """Return the p-value at an observation y (M,)."""
        near = 1 + self._near(self._y, np.asarray(y, np.float64)[None])
        weights = cho_solve(self._solved, self._at_points * np.tile(near, (2, 1)))
        real, normal = np.split(weights, 2)
        effect = (real - normal).T
        statistic = np.square(effect.sum(axis=1)).mean()
        null = np.square(effect @ self._swaps).mean(axis=0)
        return float((1 + (null >= statistic).sum()) / (1 + SWAPS))

    def _kernel(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * cdist(one, other, "sqeuclidean") / self._width_z**2))

    def _near(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * cdist(one, other, "sqeuclidean") / self._width_y**2))
