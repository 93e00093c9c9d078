"""The likelihood itself as a score."""

from __future__ import annotations

import numpy as np

from innflow.metric.likelihood import bits_per_dim
from innflow.score.base import Measured


class Likelihood:
    """The negative log likelihood in nats."""

    def fit(self, inliers: Measured) -> None:
        """Learn nothing: the likelihood needs no reference."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log_prob, (N,)."""
        return -np.asarray(items.log_prob, dtype=np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Return no arrays."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take nothing back."""


class BitsPerDim(Likelihood):
    """The negative log likelihood in bits per dimension: it ranks as `Likelihood` does."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return bits per dimension, (N,)."""
        return bits_per_dim(items.log_prob, items.dims)
