"""The likelihood itself as a score."""

from __future__ import annotations

import numpy as np

from innflow.errors import InnflowError
from innflow.metric.divergence import bits_per_dim
from innflow.score.base import Measured, StatelessScore


class Likelihood(StatelessScore):
    """The negative log likelihood in nats."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log_prob, (N,)."""
        return -np.asarray(items.log_prob, dtype=np.float64)


class BitsPerDim(Likelihood):
    """The negative log likelihood in bits per dimension: it ranks as `Likelihood` does."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return bits per dimension, (N,)."""
        return bits_per_dim(items.log_prob, items.dims)


class NearestClass(StatelessScore):
    """Minus the log likelihood under the class that fits best, -max_c log p(x | c), in nats.

    `Likelihood` is the score of the mixture of all classes: log p(x) sums over them.
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -max_c log p(x | c), (N,).

        Raises:
            InnflowError: if the latent has no classes.
        """
        if items.class_log_prob is None:
            raise InnflowError(
                "score NearestClass: the latent of this application has no classes: takes "
                "app=classification, or leave it out of the score group"
            )
        return -np.asarray(items.class_log_prob, dtype=np.float64).max(axis=1)
