"""Point clouds in the plane, two of them with their exact density."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from sklearn.datasets import make_circles, make_moons
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from innflow.data.base import PartsDataModule, check_choice, check_whole
from innflow.data.sets import PartsSet, make_sets


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of Gaussians in the plane: weights (K,), means (K, 2), covariances (K, 2, 2)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def sample(self, n: int, rng: Generator) -> np.ndarray:
        """Return points (n, 2)."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        spread = np.linalg.cholesky(self.covariances)[component]
        noise = rng.standard_normal((n, 2, 1))
        return self.means[component] + (spread @ noise)[..., 0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log density in nats (B,) of points x (B, 2)."""
        arrays = (self.weights, self.means, self.covariances)
        weights, means, covariances = map(torch.from_numpy, arrays)
        mixture = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariances))
        return mixture.log_prob(x.detach().cpu().double()).to(x)


def _covariance(major: float, minor: float, degrees: float) -> np.ndarray:
    """Return the covariance with these standard deviations along its turned axes."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([major**2, minor**2]) @ turn.T


# Radius 2 sqrt(2) and standard deviation sqrt(2) / 4, as in FFJORD (Grathwohl et al., 2019).
_OCTAGON = np.arange(8) * np.pi / 4
_EIGHT = GaussianMixture(
    np.full(8, 1 / 8),
    2 * np.sqrt(2) * np.stack([np.cos(_OCTAGON), np.sin(_OCTAGON)], axis=1),
    np.tile(np.eye(2) / 8, (8, 1, 1)),
)
# Standard deviations along both axes, and the angle of the first in degrees.
_AXES = [(0.9, 0.3, 70), (1.0, 0.25, -35), (1.2, 0.35, 15), (0.5, 0.4, 0), (0.45, 0.2, 110)]
_MIXTURE = GaussianMixture(
    np.array([0.3, 0.25, 0.2, 0.15, 0.1]),
    np.array([(-1.6, 0.4), (1.4, 1.2), (0.6, -1.5), (-1.2, 2.2), (2.4, -0.8)]),
    np.array([_covariance(*axes) for axes in _AXES]),
)


def _moons(n: int, rng: Generator) -> np.ndarray:
    return make_moons(n, noise=0.05, random_state=int(rng.integers(2**31)))[0]


def _rings(n: int, rng: Generator) -> np.ndarray:
    return 2 * make_circles(n, noise=0.04, factor=0.5, random_state=int(rng.integers(2**31)))[0]


def _checkerboard(n: int, rng: Generator) -> np.ndarray:
    """Return points on the dark squares, of side 2, of a board from -4 to 4."""
    column = rng.integers(0, 4, n)
    row = 2 * rng.integers(0, 2, n) + column % 2
    return 2 * (np.stack([column, row], axis=1) + rng.random((n, 2))) - 4


_DENSITIES = {"eight_gaussians": _EIGHT, "mixture": _MIXTURE}
_CLOUDS: dict[str, Callable[[int, Generator], np.ndarray]] = {
    "moons": _moons,
    "rings": _rings,
    "checkerboard": _checkerboard,
} | {name: density.sample for name, density in _DENSITIES.items()}


class Toy(PartsDataModule):
    """Points of a distribution in the plane, drawn at setup.

    The exact log density `log_prob` is known for "eight_gaussians" and "mixture".

    >>> data = Toy("eight_gaussians", n=1000, n_test=100)
    >>> {name: len(items) for name, items in data.sets().items()}
    {'train': 950, 'val': 50, 'test': 100}
    >>> data.log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])

    Args:
        name: moons, rings, checkerboard, eight_gaussians or mixture.
        n: Number of points for the sets "train" and "val".
        n_test: Number of points for the set "test".
        batch_size, holdout, workers, seed: See `PartsDataModule`; seed: of the points too.
    """

    def __init__(
        self,
        name: str,
        n: int = 20_000,
        n_test: int = 5_000,
        batch_size: int = 256,
        holdout: float = 0.05,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__((2,), batch_size, holdout, workers, seed)
        self.cloud = check_choice("name", name, tuple(_CLOUDS))
        self.n = check_whole("n", n, 2)
        self.n_test = check_whole("n_test", n_test, 1)
        self.check_memory(n=n, n_test=n_test)
        if self.cloud in _DENSITIES:
            self.log_prob = _DENSITIES[self.cloud].log_prob

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the points, in single precision."""
        train, test = self._draw("train", self.n, 0), self._draw("test", self.n_test, 1)
        return make_sets(train, test, self.holdout, self.seed, f"data.n={self.n}")

    def _draw(self, name: str, n: int, stream: int) -> PartsSet:
        points = _CLOUDS[self.cloud](n, np.random.default_rng([self.seed, stream]))
        return PartsSet.numbered(name, "train", {"x": torch.from_numpy(points).float()})
