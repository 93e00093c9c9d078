"""Likelihood ratio on features of a pretrained network as an anomaly score."""

from collections.abc import Collection

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import FEATURES, Measured, Score
from innflow.score.ratio import need_companion


class FeatureRatio(Score):
    """Log likelihood ratio of general items and inliers, by features of a pretrained network.

    The companion `features` is a flow on features of general items, whose latents are close to
    standard normal. Latents of inliers have another mean, and the covariance S. The ratio is that
    of two normal distributions with the common covariance (S + I) / 2, in nats and up to a
    constant: Fisher's linear discriminant (1936). It is fitted on inliers alone.

    Example:
        >>> from types import SimpleNamespace
        >>> inliers = SimpleNamespace(features=np.array([[2.0, 1.0], [2.0, -1.0]]))
        >>> score = FeatureRatio()
        >>> score.fit(inliers)
        >>> score(SimpleNamespace(features=np.array([[2.0, 0.0], [0.0, 0.0]])))
        array([-8., -0.])
    """

    def check(self, companions: Collection[str]) -> None:
        """Raise if the application does not have the companion."""
        need_companion(companions, FEATURES, "FeatureRatio")

    def fit(self, inliers: Measured) -> None:
        """Compute the weight of each latent, (K,)."""
        latents = _latents(inliers)
        mean = latents.mean(axis=0)
        spread = latents - mean
        common = (spread.T @ spread / len(latents) + np.eye(len(mean))) / 2
        self.weights_ = np.linalg.solve(common, mean)

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the ratios in nats, (N,)."""
        self.check_fitted()
        latents = _latents(items)
        self.check_dims(latents, len(self.weights_), "latents of features")
        return -(latents @ self.weights_)


def _latents(items: Measured) -> np.ndarray:
    """Return the latents (N, K) of the features of items in double precision."""
    if items.features is None:
        raise InnflowError(
            "score FeatureRatio: the items have no features: "
            "use companions.features=pretrained:general_features"
        )
    return np.asarray(items.features, dtype=np.float64)
