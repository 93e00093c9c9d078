"""Sharpness of posterior draws, and the energy test that they depend on the observation.

Shapes: N observations, each with its true parameters (P,) and L draws (L, P) of the posterior.
Samples from the prior pass every test of calibration, but fail this one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist, pdist

from innflow.errors import InnflowError
from innflow.metric.posterior_calibration import check_pairs, scale_of_truth


class Sharpness(NamedTuple):
    """Energy score of the draws under their own observation relative to other observations.

    Attributes:
        skill: 1 - own energy score / energy score under the draws for another observation; 0 for
            draws independent of the observation, 1 for draws that all equal the truth.
        p_value: of the permutation test of skill 0.
    """

    skill: float
    p_value: float


def compute_sharpness(draws: ArrayLike, prior_sd: ArrayLike) -> np.ndarray:
    """Compute the ratio (P,) of each parameter's mean posterior to prior standard deviation.

    It is 1 for a posterior as wide as the prior, 0 for a point.

        >>> compute_sharpness([[[1.0], [3.0]]], [2**0.5]).round(2)
        array([1.])
    """
    return np.asarray(draws, np.float64).std(axis=1, ddof=1).mean(axis=0) / np.asarray(prior_sd)


def compute_energy(truth: ArrayLike, draws: ArrayLike) -> np.ndarray:
    """Compute the energy score (N, N) of truth i under the draws for observation j.

    The score is E|X - x| - E|X - X'| / 2, smaller is better, in standard deviations of the true
    parameters; from Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and
    Estimation", JASA 2007. The time grows with N^2 L.

        >>> compute_energy([[0.0], [1.0]], [[[0.0], [0.0]], [[1.0], [1.0]]])
        array([[0., 2.],
               [2., 0.]])

    Raises:
        InnflowError: if the shapes do not match, a value is NaN or a parameter is constant.
    """
    exact, drawn = check_pairs("energy score", truth, draws)
    if drawn.shape[1] < 2:
        raise InnflowError("energy score: needs two draws or more per observation")
    sd = scale_of_truth("energy score", exact)
    exact, drawn = exact / sd, drawn / sd
    return np.stack([cdist(exact, own).mean(axis=1) - pdist(own).mean() / 2 for own in drawn], 1)


def check_sharpness(
    energy: np.ndarray, rng: np.random.Generator, permutations: int = 999
) -> Sharpness:
    """Test that the draws depend on their observation, by permutation.

    If they do not, all pairings of truths with sets of draws are equivalent: the mean score of the
    given pairing in `energy` (N, N), from `compute_energy`, is compared with that of random ones.
    The p-value is at least 1 / (permutations + 1).

        >>> check_sharpness(1 - np.eye(20), np.random.default_rng(0)).skill
        1.0
    """
    n = len(energy)
    if n < 2:
        raise InnflowError("sharpness: needs two observations or more")
    own = float(np.trace(energy)) / n
    other = float(energy.sum() - np.trace(energy)) / (n * (n - 1))
    rows = np.arange(n)
    null = np.array([energy[rows, rng.permutation(n)].mean() for _ in range(permutations)])
    return Sharpness(1 - own / other, float(1 + (null <= own).sum()) / (1 + permutations))
