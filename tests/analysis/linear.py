"""A linear Gaussian application, z = A (x - b), whose density is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from innflow import Partition
from innflow.analysis import Study
from innflow.app import Unconditional
from innflow.data.base import PartsDataModule
from innflow.data.sets import PartsSet
from innflow.score import (
    BitsPerDim,
    LatentDistance,
    Likelihood,
    Measured,
    Scorer,
    Typicality,
)
from innflow.system.ranks import draw_by_item


class LinearGaussian(Unconditional):
    """Whitens data by the covariance that it was fitted to; images are pixels of 256 levels."""

    def __init__(self, data: Tensor, ridge: float = 0.0):
        pl.LightningModule.__init__(self)
        flat = data.flatten(1).double()
        self.partition = Partition({"x": tuple(data.shape[1:])}, {"z": (flat.shape[1],)})
        self.companions = {}
        self.image = len(self.shape) == 3
        self.bias = flat.mean(dim=0)
        covariance = torch.cov(flat.T) + ridge * torch.eye(flat.shape[1], dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance)
        self.colour = factor
        self.white = torch.linalg.solve_triangular(
            factor, torch.eye(len(factor), dtype=torch.float64), upper=False
        )
        self.logabsdet = -factor.diagonal().log().sum()

    def why_no_map(self) -> str:
        return "anomaly maps: this model mixes all pixels"

    def encode(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        return ((dequantize(x, noise_seed).flatten(1).double() - self.bias) @ self.white.T).float()

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.colour.T + self.bias).float().reshape(-1, *self.shape)

    def measure(self, x: Tensor) -> Measured:
        # Density times the unit volume of a grey level is the probability of the 8-bit image.
        z = (x.flatten(1).double() - self.bias) @ self.white.T
        half = z.shape[1] // 2
        normal = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        terms = torch.stack(
            [normal[:, :half].sum(1), normal[:, half:].sum(1) + self.logabsdet], dim=1
        )
        return Measured(terms.sum(1), terms, self.logabsdet.expand(len(z)), z.float(), x)

    def log_prob(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        return self.measure(dequantize(x, noise_seed)).log_prob

    def draw_latents(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        generator = torch.Generator()
        if seed is not None:
            generator.manual_seed(seed)
        return temperature * torch.randn(n, math.prod(self.shape), generator=generator)

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        x = self.decode(self.draw_latents(n, temperature, seed))
        return x.round().clamp(0, 255).to(torch.uint8) if self.image else x


def dequantize(x: Tensor, noise_seed: int | None) -> Tensor:
    """Return pixels with uniform noise around their bin centres; as they are without a seed."""
    if noise_seed is None:
        return x
    return x + draw_by_item(x.float(), noise_seed) - 0.5


def make_set(name: str, role: str, x: Tensor, names: list[str] | None = None) -> PartsSet:
    return PartsSet(name, role, {"x": x}, names or [f"{name}/{i}" for i in range(len(x))])


class Bare(PartsDataModule):
    """A data module without exact density, augmentation, pictures or general set."""

    general_set = None

    def __init__(self):
        super().__init__((2,))


class Flips(Bare):
    """Data whose augmentation is a mirror image, half of the time, and a shift of brightness."""

    def augment(self, x: Tensor) -> Tensor:
        mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
        shift = torch.randint(-20, 21, (len(x), 1, 1, 1))
        return (torch.where(mirrored, x.flip(-1), x).int() + shift).clamp(0, 255).to(torch.uint8)


class Gaussian2d(Bare):
    """Data in the plane with their exact density."""

    def __init__(self, mean: Tensor, covariance: Tensor):
        super().__init__()
        self.law = torch.distributions.MultivariateNormal(mean.double(), covariance.double())

    def draw(self, n: int, seed: int) -> Tensor:
        noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).double()
        return (self.law.loc + noise @ self.law.scale_tril.T).float()

    def log_prob(self, x: Tensor) -> Tensor:
        return self.law.log_prob(x.double())


def scorer() -> Scorer:
    return Scorer(
        {
            "likelihood": Likelihood(),
            "bits_per_dim": BitsPerDim(),
            "latent_distance": LatentDistance(),
            "typicality": Typicality(),
        },
        headline="likelihood",
    )


def images(n: int, channels: int, seed: int, contrast: float = 30.0, size: int = 8) -> Tensor:
    """Smooth random pictures: few waves with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.cos(np.pi * (i * x + j * y)) for i in range(3) for j in range(3)])
    amounts = rng.normal(size=(n, channels, 9)) * contrast / 3
    pixels = 128 + np.einsum("nck,khw->nchw", amounts, waves)
    pixels += rng.normal(scale=4, size=pixels.shape)
    return torch.from_numpy(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def image_study(channels: int = 3, outliers: int = 2, **settings) -> Study:
    train = images(600, channels, 0)
    names = [f"train/{'cat' if i % 3 else 'kitten'}/{i}.png" for i in range(600)]
    sets = {
        "train": make_set("train", "train", train, names),
        "val": make_set("val", "val", images(40, channels, 1)),
        "test": make_set("test", "inlier", images(200, channels, 2)),
    }
    for number, (name, contrast) in enumerate([("dog", 45.0), ("ball", 90.0)][:outliers]):
        sets[name] = make_set(name, "outlier", images(60, channels, 3 + number, contrast))
    study = Study(
        LinearGaussian(train, ridge=1.0), Flips(), sets, scorer(), train_limit=300, **settings
    )
    study.fit_scorer()
    return study


def plane_study(**settings) -> Study:
    data = Gaussian2d(torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 0.6], [0.6, 2.0]]))
    sets = {
        "train": make_set("train", "train", data.draw(4000, 0)),
        "val": make_set("val", "val", data.draw(200, 1)),
        "test": make_set("test", "inlier", data.draw(2000, 2)),
    }
    app = LinearGaussian(sets["train"].parts["x"])
    study = Study(app, data, sets, scorer(), **settings)
    study.fit_scorer()
    return study
