"""A small Glow that answers what analyses of couplings ask, on drawn pictures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor

from analysis.linear import Items, images, scorer
from innflow.analysis import Study
from innflow.flow import CouplingTrace, glow, latent_layout, trace

SIZE = 8


class SmallGlow:
    """Two levels of two couplings with random networks; pixels of 256 levels."""

    def __init__(self, channels: int = 3, seed: int = 0):
        torch.manual_seed(seed)
        self.shape = (channels, SIZE, SIZE)
        self.flow = glow(self.shape, levels=2, depth=2, hidden=8)
        data = images(64, channels, 0)
        self.flow.initialise(self.preprocess(data))
        with torch.no_grad():
            # Couplings start as the identity; these do something.
            for parameter in self.flow.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        self.flow.eval()

    def preprocess(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        noise: Tensor | float = 0.5
        if noise_seed is not None:
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(noise_seed))
        return (x.float() + noise) / 256 - 0.5

    def measure_graph(self, x: Tensor) -> Tensor:
        terms = []
        for z, logabsdet in self.flow.terms(self.preprocess(x)):
            normal = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
            terms.append(normal + logabsdet - z.shape[1] * math.log(256))
        return torch.stack(terms, dim=1)

    @torch.no_grad()
    def measure(self, x: Tensor) -> SimpleNamespace:
        latent, logabsdet = self.flow(self.preprocess(x))
        terms = self.measure_graph(x)
        return SimpleNamespace(
            log_prob=terms.sum(dim=1), terms=terms, logabsdet=logabsdet, latent=latent
        )

    def log_prob(self, x: Tensor) -> Tensor:
        return self.measure(x).log_prob

    @torch.no_grad()
    def encode(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        return self.flow(self.preprocess(x, noise_seed))[0]

    def trace(self, x: Tensor) -> list[CouplingTrace]:
        return list(trace(self.flow, self.preprocess(x)))

    def latent_layout(self, z: Tensor) -> Tensor:
        return latent_layout(self.flow, z)


def flow_study(channels: int = 3, outliers: int = 2, **settings) -> Study:
    sets = {
        "train": Items("train", "train", images(80, channels, 0)),
        "val": Items("val", "val", images(8, channels, 1)),
        "test": Items("test", "inlier", images(40, channels, 2)),
    }
    for number, (name, contrast) in enumerate([("dog", 45.0), ("ball", 90.0)][:outliers]):
        sets[name] = Items(name, "outlier", images(20, channels, 3 + number, contrast))
    study = Study(SmallGlow(channels), None, sets, scorer(), **settings)
    study.fit_scorer()
    return study
