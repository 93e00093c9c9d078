"""The Mahalanobis distance as a score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.decomposition import PCA

from innflow.errors import InnflowError
from innflow.score.base import Measured
from innflow.score.vectors import Of, vectors

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
