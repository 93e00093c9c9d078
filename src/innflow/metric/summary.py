"""One posterior in a few numbers: moments, quantiles, and the draw where it is densest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from innflow.errors import InnflowError

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
# Draws among which the densest is looked for where no density is known, and a block of them.
SEARCHED, ROWS = 4_000, 1_000


class Summary(NamedTuple):
    """Each parameter by itself.

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
    """Compute what describes posterior draws (n, P), in their own units.

    Args:
        draws: (n, P).
        log_prob: (n,) log p(x | y) of the draws; without it `find_densest` chooses the mode.

    Raises:
        InnflowError: where a log density is not a number.
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
    """Return the row where draws lie most closely, from their distances in whitened coordinates.

    That is the row nearest to its k-th neighbour, k the square root of the number of draws. Only
    the first 4,000 rows are looked at. The estimate is that of Loftsgaarden and Quesenberry,
    "A nonparametric estimate of a multivariate density function" (1965).

    Args:
        draws: (n, P).
    """
    few = draws[:SEARCHED]
    centred = few - few.mean(axis=0)
    spread = centred.std(axis=0)
    left, scale, _ = np.linalg.svd(centred / np.where(spread > 0, spread, 1.0), full_matrices=False)
    # Directions in which the draws do not differ would be whitened to rounding errors.
    white = torch.from_numpy(left[:, scale > 1e-6 * max(scale.max(), 1e-300)] * len(few) ** 0.5)
    neighbour = round(len(few) ** 0.5)
    distances = [
        # The nearest is the draw itself.
        torch.cdist(rows, white).kthvalue(min(neighbour + 1, len(few)), dim=1).values
        for rows in white.split(ROWS)
    ]
    return int(torch.cat(distances).argmin())
