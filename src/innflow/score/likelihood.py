"""The likelihood itself as a score."""

from __future__ import annotations

import numpy as np

from innflow.metric.likelihood import bits_per_dim
from innflow.score.base import Measured
from innflow.score.fixed import Fixed


class Likelihood(Fixed):
    """The negative log likelihood in nats."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log_prob, (N,)."""
        return -np.asarray(items.log_prob, dtype=np.float64)


class BitsPerDim(Likelihood):
    """The negative log likelihood in bits per dimension: it ranks as `Likelihood` does."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return bits per dimension, (N,)."""
        return bits_per_dim(items.log_prob, items.dims)
