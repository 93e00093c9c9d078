"""Eight Gaussians on a ring, labelled in three ways, with their exact densities."""

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from innflow.data.base import PartsDataModule, check_choice, check_whole
from innflow.data.sets import PartsSet, make_sets

_X = np.array([-2.4142, -1.0, 1.0, 2.4142])
_Y = np.array([1.0, 2.4142, 2.4142, 1.0])
CENTRES = np.concatenate([np.stack([_X, _Y], axis=1), -np.stack([_X, _Y], axis=1)])
SIGMA = 0.2
FAR = 4.0
"""Distance from every centre, in sigma, from which a point counts as far."""
_REACH = 4.0

_LABELS: dict[str, tuple[list[int], list[str]]] = {
    "all": ([0, 1, 2, 3, 4, 5, 6, 7], [f"mode {i}" for i in range(8)]),
    "some": ([0, 0, 0, 0, 1, 1, 2, 3], ["red", "blue", "green", "purple"]),
    "none": ([0] * 8, ["any"]),
}


class EightModes(PartsDataModule):
    """Points of eight equally likely Gaussians on a ring, with class labels.

    The labelling "all" makes each mode a class, "some" makes four classes of 4, 2, 1 and 1 modes,
    "none" a single one (Ardizzone et al., arXiv:1808.04730). The outlier set "far" holds points
    distributed uniformly over the part of the square from -4 to 4 that is at least 4 sigma from
    every centre; they have no label.

    >>> data = EightModes("some", n=1000, n_test=100)
    >>> data.classes
    ['red', 'blue', 'green', 'purple']
    >>> data.class_log_prob(torch.zeros(5, 2)).shape
    torch.Size([5, 4])

    Args:
        labels: all, some or none.
        n: Number of points for the sets "train" and "val".
        n_test: Number of points for the set "test", and for the set "far".
        batch_size, holdout, workers, seed: See `PartsDataModule`; seed: of the points too.

    Attributes:
        centres: (8, 2), of the modes.
        sigma: Standard deviation of each mode in both directions.
        mode_labels: (8,) class of each mode.
        weights: (C,) probability of each class.
    """

    centres = CENTRES
    sigma = SIGMA

    def __init__(
        self,
        labels: str = "all",
        n: int = 100_000,
        n_test: int = 10_000,
        batch_size: int = 512,
        holdout: float = 0.05,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__((2,), batch_size, holdout, workers, seed)
        modes, names = _LABELS[check_choice("labels", labels, tuple(_LABELS))]
        self._classes = names
        self.mode_labels = np.array(modes)
        self.weights = np.bincount(self.mode_labels) / len(modes)
        self.n = check_whole("n", n, 2)
        self.n_test = check_whole("n_test", n_test, 1)
        self.check_memory(n=n, n_test=n_test)

    @property
    def floor(self) -> float:
        """The conditional entropy H(x | class) in nats, the least attainable mean of -log p.

        The entropy of a class of m modes is log(2 pi e sigma^2) + log m, exact but for the overlap
        of modes 10 sigma apart, which is below 1e-5 nats.
        """
        modes = np.bincount(self.mode_labels)
        return math.log(2 * math.pi * math.e * SIGMA**2) + float(self.weights @ np.log(modes))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log density in nats (B,) of points x (B, 2) of any class."""
        log_modes = _log_modes(x)
        return (log_modes.logsumexp(1) - math.log(log_modes.shape[1])).to(x)

    def class_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | class) in nats (B, C) of points x (B, 2)."""
        log_modes = _log_modes(x)
        columns = []
        for label in range(len(self.classes)):
            own = log_modes[:, torch.from_numpy(self.mode_labels == label)]
            columns.append(own.logsumexp(1) - math.log(own.shape[1]))
        return torch.stack(columns, dim=1).to(x)

    def sample_class(self, label: int, n: int, rng: Generator) -> np.ndarray:
        """Return n exact draws (n, 2) of p(x | class)."""
        return _around(CENTRES[rng.choice(np.flatnonzero(self.mode_labels == label), n)], rng)

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the points, in single precision, and the points far from all modes."""
        train, test = self._draw("train", self.n, 0), self._draw("test", self.n_test, 1)
        sets = make_sets(train, test, self.holdout, self.seed, f"data.n={self.n}")
        far = torch.from_numpy(_far(self.n_test, np.random.default_rng([self.seed, 2]))).float()
        sets["far"] = PartsSet.numbered("far", "outlier", {"x": far})
        return sets

    def _draw(self, name: str, n: int, stream: int) -> PartsSet:
        rng = np.random.default_rng([self.seed, stream])
        mode = rng.integers(len(CENTRES), size=n)
        x = torch.from_numpy(_around(CENTRES[mode], rng)).float()
        parts = {"x": x, "label": torch.from_numpy(self.mode_labels[mode])}
        return PartsSet.numbered(name, "train", parts)


def _around(centres: np.ndarray, rng: Generator) -> np.ndarray:
    return centres + SIGMA * rng.standard_normal(centres.shape)


def _log_modes(x: Tensor) -> Tensor:
    """Return the log density (B, 8) of each mode, in double precision."""
    points = x.detach().cpu().double()
    squares = (points[:, None] - torch.from_numpy(CENTRES)).square().sum(-1)
    return -0.5 * squares / SIGMA**2 - math.log(2 * math.pi * SIGMA**2)


def _far(n: int, rng: Generator) -> np.ndarray:
    """Return points (n, 2) of the square that are far from every centre, by rejection."""
    found = np.empty((0, 2))
    while len(found) < n:
        points = rng.uniform(-_REACH, _REACH, (2 * n, 2))
        distances = np.linalg.norm(points[:, None] - CENTRES, axis=-1)
        found = np.concatenate([found, points[distances.min(1) >= FAR * SIGMA]])
    return found[:n]
