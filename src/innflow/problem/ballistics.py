"""Inverse ballistics: how a ball was thrown, from where it hits the ground.

Prior: the place of release along the ground, N(0, 0.5^2) m; its height, N(1.5, 0.5^2) m, clamped at
the ground in the forward model; the angle of the throw, U(9, 81) degrees, in radians; the speed,
N(15, 15) m/s, clamped at 0. Clamping in the forward model keeps the prior a density without an
atom.

Forward model: the place of impact in m of a ball of mass m under gravity g and a drag of k times
its velocity. With tau = m / k and the terminal velocity w = g tau, its path is x1 + vx tau (1 -
exp(-t / tau)) along the ground and x2 + (w + vy) tau (1 - exp(-t / tau)) - w t in height.
Noise: none. Reference posterior: exact.

Source: Kruse et al., "Benchmarking invertible architectures on inverse problems"
(arXiv:2101.10763). Their speed is Poisson(15), here a normal distribution of the same mean and
variance: without noise, integer speeds divide the posterior into slices, which no continuous
map can represent.
"""

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.distributions import Normal, Uniform

from innflow.problem.joint import Joint
from innflow.problem.sampler.importance import resample

PARAMETERS = ("place", "height", "angle", "speed")
OBSERVABLES = ("impact",)
GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2
TAU = MASS / DRAG
FALL = GRAVITY * TAU
PLACE = 0.5
HEIGHT, HEIGHT_SPREAD = 1.5, 0.5
LOWEST, HIGHEST = 0.05 * math.pi, 0.45 * math.pi
SPEED, SPEED_SPREAD = 15.0, math.sqrt(15.0)
# Newton steps. Eight suffice except for slow throws from the ground, where the initial time is far
# from the impact and the first steps only halve the distance.
STEPS = 16

_PLACE, _HEIGHT = Normal(0.0, PLACE), Normal(HEIGHT, HEIGHT_SPREAD)
prior = Joint([_PLACE, _HEIGHT, Uniform(LOWEST, HIGHEST), Normal(SPEED, SPEED_SPREAD)])


def forward(x: Tensor) -> Tensor:
    """Return the place of impact (B, 1), in m, for parameters (B, 4)."""
    place, height, angle, speed = x.double().unbind(dim=1)
    height, speed = height.clamp(min=0), speed.clamp(min=0)
    along, up = speed * angle.cos(), speed * angle.sin()
    # Height is concave in time and this initial time is after the impact, so Newton's method
    # converges to the impact monotonically and never to the earlier root.
    time = (height + TAU * (FALL + up)) / FALL
    for _ in range(STEPS):
        slowed = -torch.expm1(-time / TAU)
        excess = height + TAU * (FALL + up) * slowed - FALL * time
        slope = (FALL + up) * (1 - slowed) - FALL
        time = time - excess / slope
    impact = place - along * TAU * torch.expm1(-time / TAU)
    return impact[:, None].to(x)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 4) of the exact posterior.

    Height, angle and speed are drawn from the prior; the place follows from y with Jacobian 1, and
    its prior density is the importance weight. `noise` is the standard deviation (1, 1) of
    Gaussian noise on y (1,), in m; without noise forward(draw) is y.

    Raises:
        InnflowError: Hardly any throw ends at y.
    """

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        height = HEIGHT + HEIGHT_SPREAD * rng.standard_normal(m)
        angle = rng.uniform(LOWEST, HIGHEST, m)
        speed = SPEED + SPEED_SPREAD * rng.standard_normal(m)
        draws = np.stack([np.zeros(m), height, angle, speed], axis=1)
        # Gaussian noise is symmetric: the true impact given y is y plus noise.
        impact = y if noise is None else y + rng.standard_normal((m, 1)) @ noise.T
        draws[:, :1] = impact - forward(torch.from_numpy(draws)).numpy()
        return draws, -0.5 * (draws[:, 0] / PLACE) ** 2

    return resample(propose, n, rng)
