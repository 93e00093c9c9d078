"""Distances to the training items as scores: Mahalanobis, nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from innflow.errors import InnflowError
from innflow.score.base import Measured

Of = Literal["data", "latent"]

VECTORS: Mapping[str, Callable[[Measured], np.ndarray]] = {
    "data": lambda items: items.data,
    "latent": lambda items: items.latent,
}


def vectors(items: Measured, of: str) -> np.ndarray:
    """Return one float32 vector an item, (N, D): flattened data or latents.

    Raises:
        InnflowError: if `of` names neither.
    """
    if of not in VECTORS:
        raise InnflowError(f"of={of}: takes {' or '.join(VECTORS)}")
    chosen = VECTORS[of](items)
    size = math.prod(chosen.shape[1:])  # -1 would not do for no items
    return np.asarray(chosen.reshape(len(chosen), size), dtype=np.float32)


ROWS = 1024


@dataclass
class Mahalanobis:
    """The Mahalanobis distance from the training items in their leading principal components.

    Principal components whiten: each is divided by its standard deviation in the training set.
    What lies outside of the components does not count, so that directions in which the training
    set hardly varies, whose variance nothing estimates well, do not drown the others.

    Attributes:
        components: how many; as many as there are where None.
        of: "data", the items in data units, or "latent".
    """

    components: int | None = 64
    of: Of = "data"
    mean: np.ndarray | None = field(default=None, init=False, repr=False)
    whitening: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise InnflowError(f"score Mahalanobis: components={self.components}: takes at least 1")

    def fit(self, inliers: Measured) -> None:
        """Learn the mean and the whitened principal components.

        Raises:
            InnflowError: if there are fewer components than asked for.
        """
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
        # Constant columns leave components without variance; rounding leaves a little.
        alive = spread > spread[0] * np.finfo(np.float32).eps * max(train.shape)
        self.mean = pca.mean_.astype(np.float32)
        self.whitening = (pca.components_[alive] / spread[alive, None]).astype(np.float32)

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the distances in standard deviations, (N,)."""
        if self.mean is None or self.whitening is None:
            raise InnflowError("Mahalanobis: fit it on training inliers first")
        found = vectors(items, self.of)
        if found.shape[1] != len(self.mean):
            raise InnflowError(
                f"Mahalanobis: fitted on {len(self.mean)} dimensions, given {found.shape[1]}"
            )
        # In blocks: centring a whole set would copy it.
        blocks = (found[start : start + ROWS] for start in range(0, len(found), ROWS))
        distances = [
            np.linalg.norm((block - self.mean) @ self.whitening.T, axis=1) for block in blocks
        ]
        return np.concatenate([*distances, np.zeros(0)])

    def state(self) -> dict[str, np.ndarray]:
        """Return the mean (D,) and the whitening matrix (components, D)."""
        if self.mean is None or self.whitening is None:
            return {}
        return {"mean": self.mean, "whitening": self.whitening}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take both back."""
        self.mean, self.whitening = state["mean"], state["whitening"]


LARGEST = 512 * 2**20
"""Bytes of training vectors that scores.npz may hold."""


@dataclass
class NearestNeighbours:
    """The mean Euclidean distance from the k nearest training items.

    A training item finds itself, so what it scores says nothing of fresh items.

    Attributes:
        k: neighbours.
        of: "data", the items in data units, or "latent".
        normalise: divide each vector by its Euclidean norm first.
    """

    k: int = 5
    of: Of = "data"
    normalise: bool = False
    train: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InnflowError(f"score NearestNeighbours: k={self.k}: takes at least 1")

    def fit(self, inliers: Measured) -> None:
        """Keep the training vectors.

        Raises:
            InnflowError: if there are fewer than k, or too many to be kept.
        """
        count, size = len(inliers), len(inliers) * inliers.latent.shape[1] * 4
        if self.of == "data":
            size = inliers.data.size * 4
        if count < self.k:
            raise InnflowError(f"score NearestNeighbours: k={self.k}, but {count} training items")
        if size > LARGEST:
            raise InnflowError(
                f"score NearestNeighbours: {count:,} training vectors of {self.of} would take "
                f"{size / 2**20:,.0f} MiB of the {LARGEST / 2**20:,.0f} that scores.npz may: lower "
                "study.train_limit"
            )
        self._keep(self._vectors(inliers))

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the mean distances in the unit of the vectors, (N,)."""
        if self.train is None:
            raise InnflowError("NearestNeighbours: fit it on training inliers first")
        found = self._vectors(items)
        if found.shape[1] != self.train.shape[1]:
            raise InnflowError(
                f"NearestNeighbours: fitted on {self.train.shape[1]} dimensions, "
                f"given {found.shape[1]}"
            )
        if not len(found):
            return np.zeros(0)
        distances, _ = self._index.kneighbors(found)
        return distances.mean(axis=1, dtype=np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Return the training vectors."""
        return {} if self.train is None else {"train": self.train}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take the training vectors back."""
        self._keep(state["train"])

    def _keep(self, train: np.ndarray) -> None:
        self.train = train
        # Trees lose to one matrix product beyond some ten dimensions.
        algorithm = "brute" if train.shape[1] > 15 else "auto"
        self._index = NearestNeighbors(n_neighbors=self.k, algorithm=algorithm).fit(train)

    def _vectors(self, items: Measured) -> np.ndarray:
        found = vectors(items, self.of)
        if not self.normalise:
            return found
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.maximum(norms, np.finfo(np.float32).tiny)
