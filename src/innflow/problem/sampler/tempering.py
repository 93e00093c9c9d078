"""Sequential Monte Carlo for posteriors of any shape with a cheap forward model."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.optimize import brentq
from scipy.special import softmax

from innflow.problem.sampler.importance import systematic


def draw_tempered(
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    size: int,
    n: int,
    rng: Generator,
    moves: int = 20,
) -> np.ndarray:
    """Draw from N(0, I) times a likelihood by sequential Monte Carlo.

    Particles start as draws from the prior. The likelihood is tempered by a power that grows to 1
    in steps that each halve the effective sample size; after each step the particles are resampled
    and moved by Metropolis steps along differences of other particles (differential evolution),
    which suit narrow and curved posteriors.

    Args:
        log_likelihood: of points (B, P), in nats (B,), finite.
        size: P.
        n: number of particles, thousands.
        rng: generator of random numbers.
        moves: Metropolis steps at each power, ten times as many at the last.

    Returns:
        (n, P), nearly independent.

    Source: Del Moral, Doucet and Jasra, Sequential Monte Carlo samplers, JRSS B 68 (2006); the
    moves are those of ter Braak, Statistics and Computing 16 (2006).
    """
    w = rng.standard_normal((n, size))
    log_like = log_likelihood(w)
    power = 0.0
    while power < 1:
        step = _step(log_like, 1 - power)
        power = min(power + step, 1.0)
        pool = systematic(softmax(step * log_like), n, rng)
        w, log_like = w[pool], log_like[pool]
        others = w.copy()
        for _ in range(moves if power < 1 else 10 * moves):
            first, second = rng.integers(n, size=(2, n))
            length = 2.4 / np.sqrt(2 * size) * 10 ** rng.uniform(-0.7, 0.1, (n, 1))
            trial = w + length * (others[first] - others[second])
            trial_like = log_likelihood(trial)
            gain = power * (trial_like - log_like) - (trial**2 - w**2).sum(axis=1) / 2
            accepted = np.log(rng.random(n)) < gain
            w[accepted], log_like[accepted] = trial[accepted], trial_like[accepted]
    return w


def _step(log_like: np.ndarray, largest: float) -> float:
    """Return the step of the power that halves the effective sample size, at most `largest`."""

    def surplus(step: float) -> float:
        share = softmax(step * log_like)
        return 1 / np.sum(share**2) - len(share) / 2

    return largest if surplus(largest) >= 0 else brentq(surplus, 0, largest)
