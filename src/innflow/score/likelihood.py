"""Negative log likelihoods as anomaly scores."""

import numpy as np

from innflow.errors import InnflowError
from innflow.metric.divergence import bits_per_dim
from innflow.score.base import Measured, Score, nll


class Likelihood(Score):
    """Negative log likelihood in nats; of images at the bin centres, which gives no bound.

    Example:
        >>> from types import SimpleNamespace
        >>> Likelihood()(SimpleNamespace(log_prob=np.array([-3.0, -5.0])))
        array([3., 5.])
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log_prob, (N,)."""
        return nll(items)


class BitsPerDim(Likelihood):
    """Negative log likelihood in bits per dimension; it ranks items as `Likelihood` does.

    It is computed at the bin centres and is not a bound, unlike the metric `test/bpd`.

    Example:
        >>> from types import SimpleNamespace
        >>> BitsPerDim()(SimpleNamespace(log_prob=np.array([-np.log(2)]), dims=1))
        array([1.])
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return bits per dimension, (N,)."""
        return bits_per_dim(items.log_prob, items.dims)


class NearestClass(Score):
    """Negative log likelihood of the most likely class, -max_c log p(x | c), in nats.

    Example:
        >>> from types import SimpleNamespace
        >>> NearestClass()(SimpleNamespace(class_log_prob=np.array([[-1.0, -4.0], [-9.0, -2.0]])))
        array([1., 2.])
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -max_c log p(x | c), (N,); raise if the application has no classes."""
        if items.class_log_prob is None:
            raise InnflowError(
                "score NearestClass: the latent of this application has no classes: use "
                "app=classification, or remove the score"
            )
        return -np.asarray(items.class_log_prob, dtype=np.float64).max(axis=1)
