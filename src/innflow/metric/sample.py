"""How close two clouds of samples are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from innflow.errors import InnflowError

ROWS = 1024


def mmd(x: ArrayLike, y: ArrayLike, scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0)) -> float:
    """Estimate the squared maximum mean discrepancy between two clouds, without bias.

    The kernel is the mean of Gaussians whose widths are multiples of the median distance in the
    pooled cloud. Equal distributions give zero on average, so the estimate may be negative.
    From Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equation 3.

    Args:
        x: (N, D) samples.
        y: (M, D) samples.
        scales: widths of the kernels in median distances.

    Raises:
        InnflowError: where a cloud has fewer than two points, a value is not finite, or all
            points are one.
    """
    a = torch.as_tensor(x, dtype=torch.float64).flatten(1)
    b = torch.as_tensor(y, dtype=torch.float64).flatten(1)
    if min(len(a), len(b)) < 2:
        raise InnflowError(f"MMD: needs two points or more a cloud, got {len(a)} and {len(b)}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise InnflowError("MMD: a cloud holds values that are not finite")
    pooled = torch.cat([a[:ROWS], b[:ROWS]])
    median = float(torch.pdist(pooled).median())
    if median == 0:
        raise InnflowError("MMD: half of all pairs of points coincide, so there is no scale")
    widths = [scale * median for scale in scales]
    n, m = len(a), len(b)
    # The diagonals of the two squares are exactly one each.
    within_a = (_kernel_sum(a, a, widths) - n) / (n * (n - 1))
    within_b = (_kernel_sum(b, b, widths) - m) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b, widths) / (n * m)


def _kernel_sum(a: Tensor, b: Tensor, widths: Sequence[float]) -> float:
    total = 0.0
    for rows in a.split(ROWS):
        # The exact mode: the one by matrix products leaves 1e-8 on the diagonal.
        square = torch.cdist(rows, b, compute_mode="donot_use_mm_for_euclid_dist").square()
        total += sum(float((-square / (2 * width**2)).exp().sum()) for width in widths)
    return total / len(widths)
