"""Inputs and base classes of anomaly scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

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


class FittedArrays:
    """Base class of scores: state of the attributes that `fit` sets, names ending in `_`."""

    def check(self, companions: Collection[str]) -> None:
        """Raise if the score needs a companion that is not among these names."""

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted attributes as arrays, by name."""
        return {name: np.asarray(v) for name, v in vars(self).items() if name.endswith("_")}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the fitted attributes to those that `state` returned, numbers as Python numbers."""
        for name, value in state.items():
            setattr(self, name, value if value.ndim else value.item())

    def check_fitted(self) -> None:
        """Raise unless `fit` or `load_state` has set the fitted attributes."""
        if not self.state():
            raise InnflowError(f"{type(self).__name__}: fit it on training inliers first")


class Score(FittedArrays):
    """Anomaly score of items, higher for less usual ones.

    A subclass implements `__call__`, and `fit` if it learns from training inliers. Attributes that
    `fit` sets, arrays or numbers, end with an underscore; they are saved with the run.

    Example:
        >>> class Brightness(Score):
        ...     def fit(self, inliers):
        ...         self.mean_ = inliers.data.mean()
        ...     def __call__(self, items):
        ...         return np.abs(items.data.mean(axis=(1, 2, 3)) - self.mean_)
        >>> from types import SimpleNamespace
        >>> score, images = Brightness(), SimpleNamespace(data=np.ones((2, 1, 4, 4)))
        >>> score.fit(images)
        >>> score(images)
        array([0., 0.])
    """

    def fit(self, inliers: Measured) -> None:
        """Fit to training inliers; by default there is nothing to fit."""

    @abstractmethod
    def __call__(self, items: Measured) -> np.ndarray:
        """Return the scores, (N,)."""


class CompositeScore(FittedArrays):
    """Anomaly score that is a function of the values of other scores.

    Attributes:
        parts: names of these scores.
    """

    parts: Sequence[str]

    @abstractmethod
    def fit(self, inliers: Mapping[str, np.ndarray]) -> None:
        """Fit to the values (N,) of the parts for inliers that the parts were not fitted on."""

    @abstractmethod
    def __call__(self, items: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the scores, (N,), of items with these values of the parts."""
