"""Inputs and base classes of anomaly scores."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from innflow.errors import InnflowError

Array = TypeVar("Array", np.ndarray, Tensor)
Other = TypeVar("Other", np.ndarray, Tensor)
COMPANIONS = "companions/"
"""Prefix of the names of the companions' arrays."""
FEATURES = "features"
"""Name of the companion that is a flow on features of a pretrained network."""
ROWS = 1024
"""Rows of a set that are computed at a time."""


@dataclass(frozen=True)
class Measured(Generic[Array]):
    """Arrays that an application computes for N items: tensors of a batch, NumPy of a set.

        >>> rows = np.zeros((3, 2))
        >>> items = Measured(rows[:, 0], rows, rows[:, 0], latent=rows, data=rows)
        >>> len(items[:2]), items.dims
        (2, 2)

    Attributes:
        log_prob: (N,) log p(x) in nats.
        terms: (N, L) contribution of each scale to `log_prob`, which is their sum; deepest last.
        logabsdet: (N,) log |det| of the Jacobian of the flow.
        latent: (N, D) latent vectors.
        data: (N, ...) the items themselves in data units.
        companions: (N, L) terms of log p(x) of each companion, by its name.
        class_log_prob: (N, C) log p(x | class) in nats, where the latent has classes.
        features: (N, K) latents of features of the items, by the companion `FEATURES`.

    Raises:
        InnflowError: if the arrays differ in their number of rows.
    """

    log_prob: Array
    terms: Array
    logabsdet: Array
    latent: Array
    data: Array
    companions: Mapping[str, Array] = field(default_factory=dict)
    class_log_prob: Array | None = None
    features: Array | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(array) for name, array in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise InnflowError(f"measured arrays must have one row per item, got {lengths}")

    def __len__(self) -> int:
        return len(self.log_prob)

    def __getitem__(self, index: slice | np.ndarray) -> Measured[Array]:
        """Return the items of a slice, or of an array of positions or of booleans."""
        return self.map(lambda array: array[index])

    @property
    def dims(self) -> int:
        """Number of dimensions of one item."""
        return math.prod(self.data.shape[1:])

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name; those of companions as "companions/NAME"."""
        named = {name: value for name, value in vars(self).items() if name != "companions"}
        others = {f"{COMPANIONS}{name}": terms for name, terms in self.companions.items()}
        return {name: value for name, value in {**named, **others}.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Other]) -> Measured[Other]:
        """Build an instance from arrays named as by `arrays`."""
        own = {name: array for name, array in arrays.items() if not name.startswith(COMPANIONS)}
        others = {
            name.removeprefix(COMPANIONS): terms
            for name, terms in arrays.items()
            if name.startswith(COMPANIONS)
        }
        return Measured(**own, companions=others)

    def map(self, function: Callable[[Array], Other]) -> Measured[Other]:
        """Return the same items with a function applied to every array."""
        return Measured.from_arrays({name: function(a) for name, a in self.arrays().items()})

    def numpy(self: Measured[Tensor]) -> Measured[np.ndarray]:
        """Return the tensors as NumPy arrays in host memory."""
        return self.map(lambda tensor: tensor.detach().cpu().numpy())


def by_blocks(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Return function(rows), computed in blocks to limit the memory for temporary copies."""
    starts = range(0, max(len(rows), 1), ROWS)
    return np.concatenate([function(rows[start : start + ROWS]) for start in starts])


def nll(items: Measured) -> np.ndarray:
    """Return the negative log likelihoods in nats in double precision, (N,)."""
    return -np.asarray(items.log_prob, dtype=np.float64)


class FittedArrays:
    """Base class of scores: saves and restores the fitted attributes, whose names end in `_`."""

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

    def check_dims(self, vectors: np.ndarray, fitted: int, kind: str = "dimensions") -> None:
        """Raise if vectors (N, D) have another number of dimensions than those of `fit`."""
        if vectors.shape[1] != fitted:
            raise InnflowError(
                f"{type(self).__name__}: fitted on {fitted} {kind}, given {vectors.shape[1]}"
            )


class Score(FittedArrays):
    """Anomaly score of items, higher for more anomalous ones.

    A subclass implements `__call__`, and `fit` if it learns from training inliers. Attributes that
    `fit` sets, arrays or numbers, end with an underscore; they are saved with the run.

    Example:
        >>> class Brightness(Score):
        ...     def fit(self, inliers):
        ...         self.mean_ = inliers.data.mean()
        ...     def __call__(self, items):
        ...         return np.abs(items.data.mean(axis=(1, 2, 3)) - self.mean_)
    """

    def fit(self, inliers: Measured) -> None:
        """Fit to training inliers; does nothing by default."""

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
