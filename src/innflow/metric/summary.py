"""Summary of a posterior: mean, standard deviation, quantiles, and the densest draw."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from innflow.errors import InnflowError

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
SEARCHED = 4_000
"""Largest number of draws that `find_densest` searches."""


class Summary(NamedTuple):
    """Marginal moments and quantiles, and the densest draw.

    Attributes:
        mean: (P,).
        sd: (P,).
        quantiles: (5, P), at 2.5%, 16%, 50%, 84% and 97.5%.
        mode: (P,) of the draw where the joint posterior is densest.
    """

    mean: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray
    mode: np.ndarray


def compute_summary(draws: np.ndarray, log_prob: np.ndarray | None = None) -> Summary:
    """Compute moments, quantiles and the densest of posterior draws (n, P), in their own units.

    `log_prob` is log p(x | y) of the draws, (n,); without it the mode is that of `find_densest`.

        >>> compute_summary(np.array([[1.0], [2.0], [3.0]]), np.array([0.0, 5.0, 1.0])).mode
        array([2.])

    Raises:
        InnflowError: if a log density is not a number.
    """
    wide = draws.astype(np.float64)
    if log_prob is None:
        mode = find_densest(wide)
    elif np.isnan(log_prob).any():
        raise InnflowError(f"log_prob of {int(np.isnan(log_prob).sum())} draws is not a number")
    else:
        mode = int(np.argmax(log_prob))
    return Summary(
        wide.mean(axis=0), wide.std(axis=0), np.quantile(wide, QUANTILES, axis=0), wide[mode]
    )


def find_densest(draws: np.ndarray) -> int:
    """Return the row of draws (n, P) of highest k-nearest-neighbour density, whitened.

    k is the square root of the number of draws; only the first 4,000 rows are searched. From
    Loftsgaarden and Quesenberry, "A nonparametric estimate of a multivariate density function",
    Annals of Mathematical Statistics 1965.

        >>> find_densest(np.array([[0.0], [10.0], [10.1], [10.2], [20.0]]))
        2
    """
    few = draws[:SEARCHED]
    centred = few - few.mean(axis=0)
    spread = centred.std(axis=0)
    left, scale, _ = np.linalg.svd(centred / np.where(spread > 0, spread, 1.0), full_matrices=False)
    # Constant directions would be whitened to rounding errors.
    white = left[:, scale > 1e-6 * max(scale.max(), 1e-300)] * len(few) ** 0.5
    if not white.shape[1]:  # all draws are equal
        return 0
    # The nearest is the draw itself.
    neighbour = min(round(len(few) ** 0.5) + 1, len(few))
    distances, _ = KDTree(white).query(white, k=[neighbour])
    return int(distances.argmin())
