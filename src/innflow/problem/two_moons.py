"""Two moons: a posterior of two crescents.

Prior: U(-1, 1) for both parameters. Forward model: a point on a noisy half circle of radius
N(0.1, 0.01^2), shifted by the parameters. Reference posterior: exact.

Source: Greenberg et al., "Automatic posterior transformation" (arXiv:1905.07488), as in Lueckmann
et al., "Benchmarking simulation-based inference" (arXiv:2101.04653).
"""

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.distributions import Independent, Normal, Uniform

from innflow.problem.sampler.importance import resample

PARAMETERS = ("theta 1", "theta 2")
OBSERVABLES = ("y 1", "y 2")
RADIUS, SPREAD, SHIFT = 0.1, 0.01, 0.25

prior = Independent(Uniform(-torch.ones(2), torch.ones(2)), 1)


def forward(x: Tensor) -> Tensor:
    """Return random data (B, 2) for parameters (B, 2)."""
    angle = math.pi * (torch.rand_like(x[:, 0]) - 0.5)
    radius = RADIUS + SPREAD * torch.randn_like(x[:, 0])
    crescent = torch.stack([radius * angle.cos() + SHIFT, radius * angle.sin()], dim=1)
    return crescent + _shift(x)


def log_likelihood(y: Tensor, x: Tensor) -> Tensor:
    """Return log p(y | x) in nats (B,) of data (2,) and parameters (B, 2).

    In polar coordinates of the crescent the angle is uniform over half a turn and the radius
    normal; the area element is the radius.
    """
    along, across = (y - _shift(x)).double().unbind(dim=1)
    radius = torch.hypot(along - SHIFT, across)
    log_prob = Normal(RADIUS, SPREAD).log_prob(radius) - math.log(math.pi) - radius.log()
    return torch.where(along > SHIFT, log_prob, -torch.inf)


def _shift(x: Tensor) -> Tensor:
    along, across = (x[:, 1] + x[:, 0]) / math.sqrt(2), (x[:, 1] - x[:, 0]) / math.sqrt(2)
    return torch.stack([-along.abs(), across], dim=1)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 2) of the exact posterior.

    In the coordinates (u, v) = (theta 2 + theta 1, theta 2 - theta 1) / sqrt 2, a rotation, the
    data are a random point of the crescent plus (-|u|, v). Given such a point, |u| and v follow
    with Jacobian 1, the sign of u is random, and draws outside the prior's square are rejected.
    `noise` is the factor S (2, 2) of Gaussian noise S eps added to the data y (2,), or None.

    Raises:
        InnflowError: Hardly any parameter leads to y.
    """

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        angle = np.pi * (rng.random(m) - 0.5)
        radius = RADIUS + SPREAD * rng.standard_normal(m)
        data = y if noise is None else y + rng.standard_normal((m, 2)) @ noise.T
        size = radius * np.cos(angle) + SHIFT - data[..., 0]
        across = data[..., 1] - radius * np.sin(angle)
        along = np.where(rng.random(m) < 0.5, size, -size)
        draws = np.stack([along - across, along + across], axis=1) / math.sqrt(2)
        inside = draws[(size >= 0) & (np.abs(draws) < 1).all(axis=1)]
        return inside, np.zeros(len(inside))

    return resample(propose, n, rng)
