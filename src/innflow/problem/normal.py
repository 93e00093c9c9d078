"""Repeated draws of a normal distribution whose mean and variance are unknown.

Prior: the variance is inverse-gamma distributed with shape 3 and scale 2, and the mean given the
variance v is N(0, 2 v). Forward model: one draw of N(mean, variance); `data.trials` repeats it.
Reference posterior: exact, normal-inverse-gamma.

Source: Gelman et al., Bayesian Data Analysis, third edition, section 3.3.
"""

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.distributions import Gamma, Normal, constraints

PARAMETERS = ("mean", "variance")
OBSERVABLES = ("y",)
SHAPE, SCALE, WEIGHT = 3.0, 2.0, 0.5  # the prior counts as `WEIGHT` draws


class NormalInverseGamma:
    """Distribution of mean and variance of a normal distribution, (n, 2).

    Example:
        >>> prior.sample((5,)).shape
        torch.Size([5, 2])
    """

    support = constraints.stack([constraints.real, constraints.positive])

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        """Draw from torch's global generator."""
        variance = SCALE / Gamma(SHAPE, 1.0).sample(shape)
        return torch.stack((torch.randn(shape) * (variance / WEIGHT).sqrt(), variance), dim=-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats (n,) of x (n, 2)."""
        mean, variance = x.double().unbind(dim=-1)
        found = Gamma(SHAPE, SCALE).log_prob(1 / variance) - 2 * variance.log()
        return found + Normal(0.0, (variance / WEIGHT).sqrt()).log_prob(mean)


prior = NormalInverseGamma()


def forward(x: Tensor) -> Tensor:
    """Return one draw (B, 1) for each row of parameters (B, 2)."""
    return (x[:, :1] + x[:, 1:].sqrt() * torch.randn_like(x[:, :1])).reshape(-1, 1)


def log_likelihood(y: Tensor, x: Tensor) -> Tensor:
    """Return log p(y | x) in nats (B,) of one draw (1,) and parameters (B, 2)."""
    mean, variance = x.double().unbind(dim=1)
    return -0.5 * ((y.double() - mean).square() / variance + (2 * math.pi * variance).log())


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 2) of the exact posterior given draws y (N, 1), any number of them."""
    count = len(y)
    mean = float(np.mean(y)) if count else 0.0
    squares = float(np.square(y - mean).sum()) + WEIGHT * count * mean**2 / (WEIGHT + count)
    variance = (SCALE + squares / 2) / rng.gamma(SHAPE + count / 2, size=n)
    centre = count * mean / (WEIGHT + count)
    return np.stack((rng.normal(centre, np.sqrt(variance / (WEIGHT + count))), variance), axis=1)
