"""Likelihoods in the units that papers print."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from innflow.errors import InnflowError


def bits_per_dim(log_prob: ArrayLike, dims: int) -> np.ndarray:
    """Turn log probabilities in nats into bits per dimension.

    Args:
        log_prob: (N,) nats, summed over the dimensions; of the 8-bit image for images.
        dims: number of dimensions of one item, C * H * W for images.

    Returns:
        (N,) bits per dimension, smaller is likelier.
    """
    return -np.asarray(log_prob, dtype=np.float64) / (dims * math.log(2))


def kl_divergence(log_p: ArrayLike, log_q: ArrayLike) -> tuple[float, float]:
    """Estimate KL(p || q) in nats from the log densities of both at samples of p.

    Args:
        log_p: (N,) log density of p at N samples of p.
        log_q: (N,) log density of q at the same samples.

    Returns:
        The mean of `log_p - log_q`, and its standard error.

    Raises:
        InnflowError: where a value is not finite, or there are fewer than two.
    """
    difference = np.asarray(log_p, dtype=np.float64) - np.asarray(log_q, dtype=np.float64)
    if len(difference) < 2:
        raise InnflowError(f"KL divergence: needs two samples or more, got {len(difference)}")
    bad = int(np.sum(~np.isfinite(difference)))
    if bad:
        raise InnflowError(
            f"KL divergence: log p - log q is not finite for {bad} of {len(difference)} samples"
        )
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))
