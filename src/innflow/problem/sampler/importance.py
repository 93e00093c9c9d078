"""Reference draws by importance resampling."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.special import logsumexp

from innflow.errors import InnflowError

# Effective proposals per draw, enough that few are drawn twice.
OVERSAMPLING = 5
FLOOR = 1000
# Proposals with a log weight so far below the largest are discarded.
NEGLIGIBLE = 30.0


def resample(
    propose: Callable[[int], tuple[np.ndarray, np.ndarray]],
    n: int,
    rng: Generator,
    limit: int = 2**24,
    oversampling: int = OVERSAMPLING,
    batch: int = 2**16,
    floor: int = FLOOR,
) -> np.ndarray:
    """Draw from a density by importance resampling of as many proposals as are needed.

    Args:
        propose: Number of tries -> proposals (K, P), of any number K, and log weights (K,), the log
            ratio of the density to that of the proposal, up to a constant.
        n: Number of draws.
        rng: Generator of random numbers.
        limit: Largest number of tries.
        oversampling: Effective proposals per draw.
        batch: Number of tries to begin with.
        floor: Make enough proposals for at least this many draws, even if `n` is smaller.

    Returns:
        Draws (n, P).

    Raises:
        InnflowError: The effective sample size stays below `oversampling` times `n`.
    """
    wanted = oversampling * max(n, floor)
    proposals: list[np.ndarray] = []
    logs: list[np.ndarray] = []
    largest, tried, effective = -np.inf, 0, 0.0
    while effective < wanted:
        if tried >= limit:
            raise InnflowError(
                f"posterior: {tried} proposals have an effective sample size of {effective:.0f},"
                f" but {n} draws need {wanted}; y is very unlikely: give a more likely y,"
                " or a smaller number of draws"
            )
        proposal, log = propose(batch)
        largest = max(largest, float(log.max(initial=-np.inf)))
        kept = log > largest - NEGLIGIBLE
        proposals.append(proposal[kept])
        logs.append(log[kept])
        tried += batch
        # Doubling keeps the total cost of the sums over all weights linear.
        batch = min(tried, 2**20, max(limit - tried, 1))
        weight = np.concatenate(logs)
        if weight.size:
            effective = float(np.exp(2 * logsumexp(weight) - logsumexp(2 * weight)))
    share = np.exp(weight - logsumexp(weight))
    return np.concatenate(proposals)[systematic(share, n, rng)]


def systematic(share: np.ndarray, n: int, rng: Generator) -> np.ndarray:
    """Draw indices (n,) by systematic resampling, in random order.

    An index of probability below 1 / n is drawn at most once.

    Args:
        share: (K,) probabilities, sum 1.
        n: Number of draws.
        rng: Generator of random numbers.
    """
    steps = (np.arange(n) + rng.random()) / n
    return rng.permutation(np.minimum(np.searchsorted(np.cumsum(share), steps), share.size - 1))
