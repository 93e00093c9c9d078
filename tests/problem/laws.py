"""What holds for draws of the exact posterior, whatever the problem."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from scipy.stats import kstest


def rank_p_values(problem: ModuleType, simulations: int = 80, draws: int = 63) -> np.ndarray:
    """Return for each parameter (P,) how likely ranks as uneven as these are under the exact law.

    Parameters of the prior rank uniformly among draws of the posterior of their data (Talts et
    al., "Validating Bayesian inference algorithms with simulation-based calibration", 2018).
    """
    rng = np.random.default_rng(0)
    x = problem.prior.sample((simulations,)).double()
    y = problem.forward(x).numpy()
    found = np.stack([problem.posterior(one, draws, rng, None) for one in y])
    truth = x.numpy()[:, None]
    below, level = (found < truth).sum(axis=1), (found == truth).sum(axis=1)
    # Ties of integers, and the steps of the ranks, are broken at random.
    share = (below + rng.random(below.shape) * (level + 1)) / (draws + 1)
    return np.array([kstest(column, "uniform").pvalue for column in share.T])


def weighted_prior(
    problem: ModuleType, y: np.ndarray, noise: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return prior draws (n, P) and their weights (n,) under Gaussian noise on the data."""
    x = problem.prior.sample((n,)).double()
    eps = np.linalg.solve(noise, (problem.forward(x).numpy() - y).T)
    weight = np.exp(-0.5 * (eps**2).sum(axis=0))
    return x.numpy(), weight / weight.sum()


def distances(draws: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the gap between means over draws and over a weighted sample, in standard errors.

    The means are of the values, the squares and the products of all pairs of columns.
    """

    def features(points: np.ndarray) -> np.ndarray:
        rows, columns = np.triu_indices(points.shape[1])
        return np.concatenate([points, points[:, rows] * points[:, columns]], axis=1)

    f, g = features(draws), features(x)
    mean = weight @ g
    error = np.sqrt(weight**2 @ (g - mean) ** 2 + f.var(axis=0) / len(f))
    return np.abs(f.mean(axis=0) - mean) / error
