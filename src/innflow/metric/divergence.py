"""Bits per dimension, Kullback-Leibler divergence and maximum mean discrepancy."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist, pdist

from innflow.errors import InnflowError

ROWS = 128
"""Rows of a block of distances, which limits the memory and fits the processor's cache."""
SCALED = 1024
"""Points of a cloud from which the median distance is taken."""


def bits_per_dim(log_prob: ArrayLike, dims: int) -> np.ndarray:
    """Convert log probabilities (N,) in nats to bits per dimension (N,), smaller if more probable.

        >>> bits_per_dim([-math.log(2) * 6], dims=3)
        array([2.])

    Args:
        log_prob: (N,) nats, summed over the dimensions; of the 8-bit image for images.
        dims: number of dimensions of one item, C * H * W for images.
    """
    return -np.asarray(log_prob, dtype=np.float64) / (dims * math.log(2))


def kl_divergence(log_p: ArrayLike, log_q: ArrayLike) -> tuple[float, float]:
    """Estimate KL(p || q) in nats, with its standard error, from both log densities (N,) of draws.

    The N draws are samples of p.

        >>> kl_divergence([-1.0, -2.0], [-1.5, -2.5])
        (0.5, 0.0)

    Raises:
        InnflowError: if a value is not finite, or there are fewer than two.
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


def mmd(x: ArrayLike, y: ArrayLike, scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0)) -> float:
    """Estimate the squared maximum mean discrepancy between two samples, without bias.

    The kernel is the mean of Gaussians whose widths are multiples of the median distance in the
    pooled sample. The expected value is zero for equal distributions, so an estimate may be
    negative. From Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equation 3.

        >>> line = np.arange(10.0)[:, None]
        >>> mmd(line, line + 20) > 0.5
        True

    Args:
        x: (N, D) samples.
        y: (M, D) samples.
        scales: widths of the kernels in median distances.

    Raises:
        InnflowError: if a side has fewer than two points, a value is not finite, or half of
            all pairs of points coincide.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    if min(len(a), len(b)) < 2:
        raise InnflowError(f"MMD: needs two points or more per cloud, got {len(a)} and {len(b)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InnflowError("MMD: a cloud holds values that are not finite")
    median = float(np.median(pdist(np.concatenate([a[:SCALED], b[:SCALED]]))))
    if median == 0:
        raise InnflowError("MMD: half of all pairs of points coincide, so there is no scale")

    def kernel(square: np.ndarray) -> np.ndarray:
        return np.mean([np.exp(-square / (2 * (s * median) ** 2)) for s in scales], axis=0)

    n, m = len(a), len(b)
    # The diagonals of the two squares are exactly one each.
    within_a = (n * mean_kernel(a, a, kernel) - 1) / (n - 1)
    within_b = (m * mean_kernel(b, b, kernel) - 1) / (m - 1)
    return within_a + within_b - 2 * mean_kernel(a, b, kernel)


def mean_kernel(a: np.ndarray, b: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the mean over all pairs of rows of a (N, D) and b (M, D) of a kernel.

    `kernel` maps squared distances to its values, elementwise.
    """
    blocks = (a[start : start + ROWS] for start in range(0, len(a), ROWS))
    total = sum(float(kernel(cdist(block, b, "sqeuclidean")).sum()) for block in blocks)
    return total / (len(a) * len(b))
