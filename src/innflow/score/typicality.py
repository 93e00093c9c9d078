"""Typicality as an anomaly score."""

import numpy as np

from innflow.score.base import Measured, Score, nll


class Typicality(Score):
    """Absolute difference of the negative log likelihood from its training mean, in nats.

    The typicality test of Nalisnick et al., arXiv:1906.02994, for batches of one item: items with
    too high a likelihood are anomalous too.

    Example:
        >>> from types import SimpleNamespace
        >>> score, items = Typicality(), SimpleNamespace(log_prob=np.array([-2.0, -4.0]))
        >>> score.fit(items)
        >>> score(items)
        array([1., 1.])
    """

    entropy_: float

    def fit(self, inliers: Measured) -> None:
        """Compute the mean negative log likelihood, an estimate of the entropy."""
        self.entropy_ = float(nll(inliers).mean())

    def __call__(self, items: Measured) -> np.ndarray:
        """Return |nll - mean nll of the training set|, (N,)."""
        self.check_fitted()
        return np.abs(nll(items) - self.entropy_)
