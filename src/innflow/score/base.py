"""What a score may look at, and what a score is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from innflow.errors import InnflowError

ARRAYS = ("log_prob", "terms", "logabsdet", "latent", "data")


@dataclass(frozen=True)
class Likelihoods:
    """What another model, a companion, says of the same N items.

    Attributes:
        log_prob: (N,) log probability in nats.
        terms: (N, L) contribution of each scale to `log_prob`.
    """

    log_prob: np.ndarray
    terms: np.ndarray


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
        companions: what each companion of the application says of the items, by its name.
        classes: (N, C) log p(x | class) in nats, where the latent has classes.
    """

    log_prob: np.ndarray
    terms: np.ndarray
    logabsdet: np.ndarray
    latent: np.ndarray
    data: np.ndarray
    dims: int
    companions: Mapping[str, Likelihoods] = field(default_factory=dict)
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {f"{name} log_prob": other.log_prob for name, other in self.companions.items()}
        arrays |= {} if self.classes is None else {"classes": self.classes}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InnflowError(f"measured arrays must have one row an item, got {lengths}")

    def __len__(self) -> int:
        return len(self.log_prob)

    def __getitem__(self, index: slice | np.ndarray) -> Measured:
        """Return the items of a slice, or of an array of positions or of booleans."""
        companions = {
            name: Likelihoods(other.log_prob[index], other.terms[index])
            for name, other in self.companions.items()
        }
        classes = None if self.classes is None else self.classes[index]
        chosen = {name: getattr(self, name)[index] for name in ARRAYS}
        return replace(self, **chosen, companions=companions, classes=classes)


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


class StatelessScore:
    """A score that learns nothing: it is a function of what was measured of an item."""

    def fit(self, inliers: Measured) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, np.ndarray]:
        """Return no arrays."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take nothing back."""
