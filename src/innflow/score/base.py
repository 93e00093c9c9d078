"""What a score may look at, and what a score is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from innflow.errors import InnflowError


@dataclass(frozen=True)
class Measured:
    """The arrays that a trained application leaves of the N items of one set.

    Attributes:
        log_prob: (N,) log probability in nats.
        terms: (N, L) contribution of each scale to `log_prob`, which is their sum.
        logabsdet: (N,) log |det| of the Jacobian of the flow.
        latent: (N, D) latent vectors, float32.
        data: (N, ...) the items themselves in data units.
        dims: number of dimensions of one item.
    """

    log_prob: np.ndarray
    terms: np.ndarray
    logabsdet: np.ndarray
    latent: np.ndarray
    data: np.ndarray
    dims: int

    def __post_init__(self) -> None:
        lengths = {name: len(array) for name, array in self._arrays().items()}
        if len(set(lengths.values())) > 1:
            raise InnflowError(f"measured arrays must have one row an item, got {lengths}")

    def __len__(self) -> int:
        return len(self.log_prob)

    def __getitem__(self, index: slice | np.ndarray) -> Measured:
        """Return the items of a slice, or of an array of positions or of booleans."""
        chosen = {name: array[index] for name, array in self._arrays().items()}
        return Measured(**chosen, dims=self.dims)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in fields(self)[:-1]}


class Score(Protocol):
    """An anomaly score: higher is stranger."""

    def fit(self, inliers: Measured) -> None:
        """Learn what is usual from training inliers."""

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the scores, (N,)."""

    def state(self) -> dict[str, np.ndarray]:
        """Return what `fit` learned, as arrays."""

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
