"""Anomaly scores from one scale, from the latent vector and from the log-determinant."""

import math
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score, by_blocks


@dataclass
class Scale(Score):
    """Minus the contribution of one scale to the log likelihood, in nats.

    The deepest scale depends on the content of an image more than on its texture (Schirrmeister et
    al., arXiv:2006.10848).

    Attributes:
        index: index of the scale, from 0 for the shallowest; -1 for the deepest.

    Example:
        >>> from types import SimpleNamespace
        >>> Scale(index=-1)(SimpleNamespace(terms=np.array([[-1.0, -2.0], [-3.0, -4.0]])))
        array([2., 4.])
    """

    index: int = -1

    def __call__(self, items: Measured) -> np.ndarray:
        """Return minus the contribution, (N,); raise if the flow has no such scale."""
        return -contribution(items.terms, self.index, f"Scale(index={self.index})")


def contribution(terms: np.ndarray, index: int, score: str) -> np.ndarray:
    """Return one column of the contributions (N, L) in double precision; raise if out of range."""
    scales = terms.shape[1]
    if not -scales <= index < scales:
        raise InnflowError(
            f"score {score}: the flow has {scales} scales; give {-scales} to {scales - 1}"
        )
    return np.asarray(terms[:, index], dtype=np.float64)


class LatentNorm(Score):
    """Minus the log density of the latent vector under N(0, I), in nats.

    Example:
        >>> from types import SimpleNamespace
        >>> LatentNorm()(SimpleNamespace(latent=np.zeros((1, 2)))).round(2)
        array([1.84])
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return |z|^2 / 2 + D / 2 log 2 pi, (N,)."""
        constant = 0.5 * items.latent.shape[1] * math.log(2 * math.pi)
        squares = by_blocks(lambda z: np.square(z, dtype=np.float64).sum(axis=1), items.latent)
        return 0.5 * squares + constant


class LogDet(Score):
    """Minus the log-determinant of the flow, in nats.

    Example:
        >>> from types import SimpleNamespace
        >>> LogDet()(SimpleNamespace(logabsdet=np.array([-2.0, 1.0])))
        array([ 2., -1.])
    """

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log |det J|, (N,)."""
        return -np.asarray(items.logabsdet, dtype=np.float64)


class LatentDistance(Score):
    """Euclidean distance of the latent vector from the mean of the training latents.

    Example:
        >>> from types import SimpleNamespace
        >>> score, items = LatentDistance(), SimpleNamespace(latent=np.array([[0.0], [4.0]]))
        >>> score.fit(items)
        >>> score(items)
        array([2., 2.])
    """

    mean_: np.ndarray

    def fit(self, inliers: Measured) -> None:
        """Compute the mean latent vector, (D,)."""
        self.mean_ = np.asarray(inliers.latent, dtype=np.float64).mean(axis=0)

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the distances, (N,)."""
        self.check_fitted()
        self.check_dims(items.latent, len(self.mean_), "latent dimensions")
        return by_blocks(lambda z: np.linalg.norm(z - self.mean_, axis=1), items.latent)
