"""Reference draws by importance resampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.special import logsumexp

from innflow.errors import InnflowError

# So many effective proposals for each draw that hardly any of them is drawn twice.
OVERSAMPLING = 5
FLOOR = 1000
# A proposal whose log weight lies so far below the largest is never drawn, and is not kept.
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
    """Draw from a density by weighting proposals until there are enough of them, then resampling.

    Args:
        propose: Given a number of tries, returns proposals (K, P) and their log weights (K,), log
            of density over density of the proposal up to a constant; K may be any number.
        n: Number of draws.
        rng: For the resampling.
        limit: Number of tries after which to give up.
        oversampling: Effective proposals for each draw.
        batch: Number of tries to begin with.
        floor: Smallest number of draws for which there are enough proposals.

    Returns:
        Draws (n, P).

    Raises:
        InnflowError: Where the effective sample size stays below `oversampling` times the
            number of draws.
    """
    wanted = oversampling * max(n, floor)
    proposals: list[np.ndarray] = []
    logs: list[np.ndarray] = []
    largest, tried, effective = -np.inf, 0, 0.0
    while effective < wanted:
        if tried >= limit:
            raise InnflowError(
                f"posterior: {tried} proposals are worth {effective:.0f} draws of the"
                f" posterior, and {n} of them need {wanted}; y is all but impossible, so give a"
                " likelier y or ask for fewer draws"
            )
        proposal, log = propose(batch)
        largest = max(largest, float(log.max(initial=-np.inf)))
        kept = log > largest - NEGLIGIBLE
        proposals.append(proposal[kept])
        logs.append(log[kept])
        tried += batch
        # The doubling keeps the sums over all the weights cheap.
        batch = min(tried, 2**20, max(limit - tried, 1))
        weight = np.concatenate(logs)
        if weight.size:
            effective = float(np.exp(2 * logsumexp(weight) - logsumexp(2 * weight)))
    share = np.exp(weight - logsumexp(weight))
    return np.concatenate(proposals)[systematic(share, n, rng)]


def systematic(share: np.ndarray, n: int, rng: Generator) -> np.ndarray:
    """Draw indices (n,) with these probabilities, in random order and as evenly as can be.

    None with a share below 1 / n is drawn twice.

    Args:
        share: (K,) probabilities, sum 1.
        n: Number of draws.
        rng: Source of randomness.
    """
    steps = (np.arange(n) + rng.random()) / n
    return rng.permutation(np.minimum(np.searchsorted(np.cumsum(share), steps), share.size - 1))
