"""A linear Gaussian inverse problem whose posterior is exact, or wrong in a known way."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from innflow.analysis import Study
from innflow.app import Inverse
from innflow.data.sets import PartsSet
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.simulation.support import Support
from innflow.problem.gaussian import LinearGaussian

MODEL = LinearGaussian(
    np.array([1.0, -1.0, 0.0]),
    np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 2.0]]),
    np.array([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]]),
)
NOISE = np.array([[0.3, 0.0], [0.1, 0.4]])


@dataclass(eq=False)
class Gaussian(Inverse):
    """The posterior N(mean + shift sd, (width factor)^2 covariance), given y or of the prior.

    Attributes:
        shift: in posterior standard deviations.
        factor: on the posterior's width.
        prior: whether the draws ignore y.
        wrong_noise: whether the drawn noise has nothing to do with the drawn parameters.
        left: names of the left parts.
        noise: S, of the data that it takes y for.
        width: of y, in halves of its unit, that it says training gave y.
    """

    shift: float = 0.0
    factor: float = 1.0
    prior: bool = False
    wrong_noise: bool = False
    left: tuple[str, ...] = ("x",)
    noise: np.ndarray = field(default_factory=lambda: NOISE)
    width: float = 0.0
    device = torch.device("cpu")

    def __post_init__(self):
        settings = dict(vars(self))
        pl.LightningModule.__init__(self)
        vars(self).update(settings)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3,)

    @property
    def partition(self) -> SimpleNamespace:
        return SimpleNamespace(left=dict.fromkeys(self.left))

    def y_units(self, y: Tensor) -> Tensor:
        return (y - 1) / 2

    y_units.mean = torch.ones(2)  # as of `Standardized`

    def summarize(self, y: Tensor) -> Tensor:
        return y

    def moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means (B, 3) and the lower factor (3, 3) of the covariance."""
        if self.prior:
            factor = torch.from_numpy(np.linalg.cholesky(MODEL.covariance))
            return torch.from_numpy(MODEL.mean).expand(len(y), 3), factor
        # The mean is affine in y, the covariance the same for all.
        corners = [MODEL.moments(one, self.noise) for one in np.vstack([np.zeros(2), np.eye(2)])]
        origin, *ends = (torch.from_numpy(mean) for mean, _ in corners)
        covariance = torch.from_numpy(corners[0][1])
        gain = torch.stack([end - origin for end in ends])
        means = origin + y.double() @ gain + self.shift * covariance.diagonal().sqrt()
        return means, self.factor * torch.linalg.cholesky(covariance)

    def posterior(self, y: Tensor, n: int = 1000, seed: int | None = None) -> Tensor:
        rows = y.reshape(-1, 2)
        means, factor = self.moments(rows)
        generator = torch.Generator().manual_seed(seed or 0)
        white = torch.randn(len(rows), n, 3, generator=generator).double()
        return (means[:, None] + white @ factor.T).float().reshape(*y.shape[:-1], n, 3)

    def posterior_noise(self, y: Tensor, n: int = 1000, seed: int | None = None) -> Tensor:
        x = self.posterior(y, n, seed)
        if self.wrong_noise:
            return torch.randn((*x.shape[:-1], 2), generator=torch.Generator().manual_seed(1))
        residual = y.unsqueeze(-2).double() - x.double() @ torch.from_numpy(MODEL.matrix).T
        return (residual @ torch.from_numpy(np.linalg.inv(self.noise)).T).float()

    def encode(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Tensor:
        means, factor = self.moments(y)
        deviation = (x.double() - means).T
        return torch.linalg.solve_triangular(factor, deviation, upper=False).T.float()

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        z = self.encode(x, y).double()
        _, factor = self.moments(y[:1])
        constant = 1.5 * np.log(2 * np.pi) + factor.diagonal().log().sum()
        return (-0.5 * z.square().sum(dim=1) - constant).float()


class Problem(InverseData):
    """The same problem as a `Simulator`, with a count of its calls."""

    deterministic = False
    noise = None
    columns = None
    reference_path = None

    def __init__(self, noise: bool = True) -> None:
        super().__init__((3,))
        self.noise = torch.from_numpy(NOISE).float() if noise else None
        self.columns = {"x": ["one", "two", "three"], "y": ["sum", "difference"]}
        self.support = Support.real(3)
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.from_numpy(MODEL.matrix).float().T

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        eps = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(seed))
        return self.forward(x) + eps @ torch.from_numpy(NOISE).float().T

    def reference(self, y: np.ndarray, n: int, seed: int) -> np.ndarray:
        self.asked += 1
        return MODEL.draw(y, n, np.random.default_rng(seed), NOISE)


def make_items(name: str, role: str, n: int, seed: int, noise: np.ndarray = NOISE) -> PartsSet:
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(n, 3, generator=generator).double()
    factor = torch.from_numpy(np.linalg.cholesky(MODEL.covariance))
    x = torch.from_numpy(MODEL.mean) + white @ factor.T
    eps = torch.randn(n, 2, generator=generator).double()
    y = x @ torch.from_numpy(MODEL.matrix).T + eps @ torch.from_numpy(noise).T
    parts = {"x": x.float(), "y": y.float(), "eps": eps.float()}
    return PartsSet(name, role, parts, [f"{name}/{i}" for i in range(n)])


def gaussian_study(
    app: object | None = None,
    data: object | None = None,
    noise: np.ndarray = NOISE,
    **settings,
) -> Study:
    sets = {
        "train": make_items("train", "train", 2000, 0, noise),
        "val": make_items("val", "val", 100, 1, noise),
        "test": make_items("test", "inlier", 500, 2, noise),
    }
    return Study(app or Gaussian(), data or Problem(), sets, None, **settings)
