"""Typicality as a score: an item may also be too likely."""

from __future__ import annotations

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured


class Typicality:
    """The distance of an item's negative log likelihood from that of the training set, in nats.

    From Nalisnick et al., "Detecting Out-of-Distribution Inputs to Deep Generative Models Using
    Typicality", 2019, for batches of one item.
    """

    entropy: float | None = None

    def fit(self, inliers: Measured) -> None:
        """Learn the mean negative log likelihood, an estimate of the entropy."""
        self.entropy = float(-np.mean(inliers.log_prob, dtype=np.float64))

    def __call__(self, items: Measured) -> np.ndarray:
        """Return |nll - mean nll of train|, (N,)."""
        if self.entropy is None:
            raise InnflowError("Typicality: fit it on training inliers first")
        return np.abs(-np.asarray(items.log_prob, dtype=np.float64) - self.entropy)

    def state(self) -> dict[str, np.ndarray]:
        """Return the mean negative log likelihood."""
        return {} if self.entropy is None else {"entropy": np.array(self.entropy)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take the mean back."""
        self.entropy = float(state["entropy"])
