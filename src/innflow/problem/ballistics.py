"""Inverse ballistics: how a ball was thrown, given where it hit the ground.

Parameters: the place of release along the ground, N(0, 0.5^2) m; its height, N(1.5, 0.5^2) m,
where a height below the ground is the ground; the angle of the throw, U(9, 81) degrees in radians;
the speed, N(15, 15) m/s, where a negative one is none. Data: the place of impact in m.

The ball of mass m feels gravity g and a drag k times its velocity. With tau = m / k and the final
speed of fall w = g tau, its path is x1 + vx tau (1 - exp(-t / tau)) along the ground and
x2 + (w + vy) tau (1 - exp(-t / tau)) - w t in height. Declaring the height Gaussian instead of
clamped leaves the law of the data as it is, and the prior a density without an atom.

Source: Kruse et al., "Benchmarking invertible architectures on inverse problems" (2019). Their
speed is Poisson(15), a whole number; the normal of the same mean and variance stands for it here,
because without noise a whole speed cuts the posterior into slices that no continuous map has.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.distributions import Normal, Uniform

from innflow.problem.importance import resample
from innflow.problem.joint import Joint

PARAMETERS = ("place", "height", "angle", "speed")
OBSERVABLES = ("impact",)
GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2
TAU = MASS / DRAG
FALL = GRAVITY * TAU
PLACE = 0.5
HEIGHT, HEIGHT_SPREAD = 1.5, 0.5
LOWEST, HIGHEST = 0.05 * math.pi, 0.45 * math.pi
SPEED, SPEED_SPREAD = 15.0, math.sqrt(15.0)
# Of Newton. Eight do but for slow throws off the ground, whose start lies far behind the impact and
# halves its distance at first.
STEPS = 16

prior = Joint(
    [
        Normal(0.0, PLACE),
        Normal(HEIGHT, HEIGHT_SPREAD),
        Uniform(LOWEST, HIGHEST),
        Normal(SPEED, SPEED_SPREAD),
    ]
)


def forward(x: Tensor) -> Tensor:
    """Return the place of impact (B, 1), in m, for parameters (B, 4)."""
    place, height, angle, speed = x.double().unbind(dim=1)
    height, speed = height.clamp(min=0), speed.clamp(min=0)
    along, up = speed * angle.cos(), speed * angle.sin()
    # Height over time is concave, and this start lies behind the impact: every Newton step comes
    # closer to it and none passes it, so the earlier root is never met.
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

    The prior gives height, angle and speed; the place is what remains to the impact, with
    Jacobian 1, and its prior density is the weight.

    Args:
        y: (1,) place of impact in m.
        n: Number of draws.
        rng: Of the draws.
        noise: (1, 1) standard deviation of Gaussian noise on y, or None.

    Returns:
        Draws (n, 4); without noise forward(draw) is y.

    Raises:
        InnflowError: Where hardly any throw ends at y.
    """

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        height = HEIGHT + HEIGHT_SPREAD * rng.standard_normal(m)
        angle = rng.uniform(LOWEST, HIGHEST, m)
        speed = SPEED + SPEED_SPREAD * rng.standard_normal(m)
        draws = np.stack([np.zeros(m), height, angle, speed], axis=1)
        # The unknown impact without noise is symmetric about the one with noise.
        impact = y if noise is None else y + rng.standard_normal((m, 1)) @ noise.T
        draws[:, :1] = impact - forward(torch.from_numpy(draws)).numpy()
        return draws, -0.5 * (draws[:, 0] / PLACE) ** 2

    return resample(propose, n, rng)
