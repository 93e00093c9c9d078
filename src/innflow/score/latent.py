"""Distance in latent space as a score."""

from __future__ import annotations

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured


class LatentDistance:
    """The Euclidean distance of an item's latent vector from the mean of the training latents."""

    mean: np.ndarray | None = None

    def fit(self, inliers: Measured) -> None:
        """Learn the mean latent vector."""
        self.mean = np.asarray(inliers.latent, dtype=np.float64).mean(axis=0)

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the distances, (N,)."""
        if self.mean is None:
            raise InnflowError("LatentDistance: fit it on training inliers first")
        if items.latent.shape[1] != len(self.mean):
            raise InnflowError(
                f"LatentDistance: fitted on {len(self.mean)} latent dimensions, "
                f"given {items.latent.shape[1]}"
            )
        # In blocks: a whole set in double precision would be twice its latents in memory.
        blocks = (items.latent[i : i + 1024] for i in range(0, len(items), 1024))
        distances = [np.linalg.norm(block - self.mean, axis=1) for block in blocks]
        return np.concatenate(distances) if distances else np.zeros(0)

    def state(self) -> dict[str, np.ndarray]:
        """Return the mean."""
        return {} if self.mean is None else {"mean": self.mean}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take the mean back."""
        self.mean = state["mean"]
