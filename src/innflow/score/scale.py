"""Parts of the likelihood as scores: one scale, the latent alone, the log-determinant alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, StatelessScore

ROWS = 1024


@dataclass
class Scale(StatelessScore):
    """Minus the contribution of one scale to the log likelihood, in nats.

    The deepest scale sees the content of an image more than its texture (Schirrmeister et al.,
    "Understanding Anomaly Detection with Deep Invertible Networks through Hierarchies of
    Distributions and Features", 2020).

    Attributes:
        index: of the scale, 0 is the first to leave the flow, -1 the deepest.
    """

    index: int = -1

    def __call__(self, items: Measured) -> np.ndarray:
        """Return minus the contribution, (N,).

        Raises:
            InnflowError: if the flow has no such scale.
        """
        return -contribution(items.terms, self.index, f"Scale(index={self.index})")


def contribution(terms: np.ndarray, index: int, who: str) -> np.ndarray:
    """Return one column of the contributions (N, L) in double precision, (N,).

    Raises:
        InnflowError: naming `who` asks, if there is no such column.
    """
    scales = terms.shape[1]
    if not -scales <= index < scales:
        raise InnflowError(
            f"score {who}: the flow has {scales} scales; takes {-scales} to {scales - 1}"
        )
    return np.asarray(terms[:, index], dtype=np.float64)


class LatentNorm(StatelessScore):
    """Minus the log density of the latent vector under N(0, I), without the log-determinant."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return |z|^2 / 2 + D / 2 log 2 pi in nats, (N,)."""
        constant = 0.5 * items.latent.shape[1] * math.log(2 * math.pi)
        squares = [np.square(block).sum(axis=1) for block in _blocks(items.latent)]
        return 0.5 * np.concatenate([*squares, np.zeros(0)]) + constant


class LogDet(StatelessScore):
    """Minus the log-determinant of the flow, without the density of the latent."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return -log |det J| in nats, (N,)."""
        return -np.asarray(items.logabsdet, dtype=np.float64)


def _blocks(latent: np.ndarray) -> Iterator[np.ndarray]:
    """Yield latents in double precision; a whole set at once would be twice its memory."""
    for start in range(0, len(latent), ROWS):
        yield np.asarray(latent[start : start + ROWS], dtype=np.float64)


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
