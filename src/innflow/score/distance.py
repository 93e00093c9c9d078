"""Distances from the training items as anomaly scores: Mahalanobis, nearest neighbours."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score, by_blocks

Of = Literal["data", "latent"]


def vectors(items: Measured, of: str) -> np.ndarray:
    """Return the flattened "data" or "latent", (N, D) float32."""
    if of not in ("data", "latent"):
        raise InnflowError(f"of={of}: must be data or latent")
    chosen = items.latent if of == "latent" else items.data
    size = math.prod(chosen.shape[1:])  # reshape(-1) fails for no items
    return np.asarray(chosen.reshape(len(chosen), size), dtype=np.float32)


@dataclass
class Mahalanobis(Score):
    """Mahalanobis distance from the training mean in the leading principal components.

    Directions of little variance, whose estimated variance is inaccurate, would dominate the
    distance in all dimensions; they are left out.

    Attributes:
        components: number of principal components; all if None.
        of: "data", the items in data units, or "latent".

    Example:
        >>> from types import SimpleNamespace
        >>> items = SimpleNamespace(data=np.random.default_rng(0).normal(size=(50, 3)))
        >>> score = Mahalanobis(components=2)
        >>> score.fit(items)
        >>> score(items).shape
        (50,)
    """

    components: int | None = 64
    of: Of = "data"

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise InnflowError(
                f"score Mahalanobis: components={self.components}: must be at least 1"
            )

    def fit(self, inliers: Measured) -> None:
        """Compute the mean (D,) and the whitening matrix (components, D)."""
        train = vectors(inliers, self.of)
        # Centred vectors of N items span N - 1 dimensions.
        most = min(train.shape[1], len(train) - 1)
        if self.components is not None and self.components > most:
            raise InnflowError(
                f"score Mahalanobis: components={self.components}, but {len(train)} training "
                f"items of {train.shape[1]} dimensions have at most {most}"
            )
        if not np.ptp(train, axis=0).any():
            raise InnflowError("score Mahalanobis: all training items are equal")
        pca = PCA(self.components or most, random_state=0).fit(train)
        spread = np.sqrt(pca.explained_variance_)
        # Constant columns give components whose variance is zero up to rounding.
        kept = spread > spread[0] * np.finfo(np.float32).eps * max(train.shape)
        self.mean_ = pca.mean_.astype(np.float32)
        self.whitening_ = (pca.components_[kept] / spread[kept, None]).astype(np.float32)

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the distances in standard deviations, (N,)."""
        self.check_fitted()
        found = vectors(items, self.of)
        self.check_dims(found, len(self.mean_))
        return by_blocks(
            lambda x: np.linalg.norm((x - self.mean_) @ self.whitening_.T, axis=1), found
        )


LARGEST = 512 * 2**20
"""Largest size in bytes of the training vectors in scores.npz."""


@dataclass
class NearestNeighbours(Score):
    """Mean Euclidean distance from the k nearest training items.

    A training item is its own nearest neighbour, so scores of training items are too small.

    Attributes:
        k: number of neighbours.
        of: "data", the items in data units, or "latent".
        normalise: divide each vector by its Euclidean norm first.

    Example:
        >>> from types import SimpleNamespace
        >>> score = NearestNeighbours(k=1)
        >>> score.fit(SimpleNamespace(data=np.array([[0.0], [1.0]])))
        >>> score(SimpleNamespace(data=np.array([[4.0]])))
        array([3.])
    """

    k: int = 5
    of: Of = "data"
    normalise: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InnflowError(f"score NearestNeighbours: k={self.k}: must be at least 1")

    def fit(self, inliers: Measured) -> None:
        """Store the training vectors, at least k, and build the index."""
        chosen = inliers.latent if self.of == "latent" else inliers.data
        count, size = len(chosen), 4 * chosen.size
        if count < self.k:
            raise InnflowError(f"score NearestNeighbours: k={self.k}, but {count} training items")
        if size > LARGEST:
            raise InnflowError(
                f"score NearestNeighbours: {count:,} training vectors of {self.of} would take "
                f"{size / 2**20:,.0f} MiB in scores.npz, at most {LARGEST / 2**20:,.0f}: lower "
                "study.train_limit"
            )
        self._build_index(self._vectors(inliers))

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the mean distances in the unit of the vectors, (N,)."""
        self.check_fitted()
        found = self._vectors(items)
        self.check_dims(found, self.train_.shape[1])
        if not len(found):
            return np.zeros(0)
        distances, _ = self._index.kneighbors(found)
        return distances.mean(axis=1, dtype=np.float64)

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the training vectors and build the index."""
        self._build_index(state["train_"])

    def _build_index(self, train: np.ndarray) -> None:
        self.train_ = train
        # Beyond some ten dimensions one matrix product is faster than a search tree.
        algorithm = "brute" if train.shape[1] > 15 else "auto"
        self._index = NearestNeighbors(n_neighbors=self.k, algorithm=algorithm).fit(train)

    def _vectors(self, items: Measured) -> np.ndarray:
        found = vectors(items, self.of)
        if not self.normalise:
            return found
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.maximum(norms, np.finfo(np.float32).tiny)
