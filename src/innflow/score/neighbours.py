"""The distance from the nearest training items as a score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.neighbors import NearestNeighbors

from innflow.errors import InnflowError
from innflow.score.base import Measured
from innflow.score.vectors import Of, vectors

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
