"""Gaussian linear task: ten parameters, each observed once with noise.

Prior: N(0, 0.1 I), 0.1 being a variance. Forward model: the parameters plus noise N(0, 0.1 I),
which the simulator adds itself. Reference posterior: exact.

Source: Lueckmann et al., "Benchmarking simulation-based inference" (arXiv:2101.04653).
"""

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from innflow.problem.gaussian import LinearGaussian

DIMENSION = 10
VARIANCE = 0.1
PARAMETERS = tuple(f"theta {i}" for i in range(1, DIMENSION + 1))
OBSERVABLES = tuple(f"y {i}" for i in range(1, DIMENSION + 1))

MODEL = LinearGaussian(np.zeros(DIMENSION), VARIANCE * np.eye(DIMENSION), np.eye(DIMENSION))
prior = MODEL.prior()


def forward(x: Tensor) -> Tensor:
    """Return random data (B, 10) for parameters (B, 10)."""
    return x + math.sqrt(VARIANCE) * torch.randn_like(x)


def log_likelihood(y: Tensor, x: Tensor) -> Tensor:
    """Return log p(y | x) in nats (B,) of data (10,) and parameters (B, 10)."""
    square = (y - x).square().sum(dim=1)
    return -0.5 * square / VARIANCE - 0.5 * DIMENSION * math.log(2 * math.pi * VARIANCE)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 10) of the exact posterior, N(y / 2, 0.05 I) without further noise.

    `noise` is the factor S (10, 10) of Gaussian noise S eps added to the data y (10,), or None.
    """
    added = 0.0 if noise is None else noise @ noise.T
    return MODEL.draw(y, n, rng, np.linalg.cholesky(MODEL.covariance + added))
