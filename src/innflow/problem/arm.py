"""Inverse kinematics of a planar arm: its base and joint angles from the position of its end.

Prior: the height of the base on a vertical rail, N(0, 0.25^2), and three joint angles in radians,
N(0, 0.5^2), each relative to the segment before. Forward model: the position of the end of the arm,
whose segments have lengths 0.5, 0.5 and 1. Noise: none. Reference posterior: exact.
Its published Err_post is in raw units with fixed kernel widths (`analysis.posterior.standardise`).

Source: Ardizzone et al., "Analyzing inverse problems with invertible neural networks"
(arXiv:1808.04730), with the angles of Kruse et al., "Benchmarking invertible architectures on
inverse problems" (arXiv:2101.10763).
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.distributions import Independent, Normal

from innflow.errors import InnflowError
from innflow.problem.sampler.importance import resample

PARAMETERS = ("rail", "angle 1", "angle 2", "angle 3")
OBSERVABLES = ("end x", "end y")
RAIL, ANGLE = 0.25, 0.5
LENGTHS = (0.5, 0.5, 1.0)

prior = Independent(Normal(torch.zeros(4), torch.tensor([RAIL, ANGLE, ANGLE, ANGLE])), 1)


def forward(x: Tensor) -> Tensor:
    """Return the end of the arm (B, 2) for parameters (B, 4)."""
    lengths = x.new_tensor(LENGTHS)
    angles = x[:, 1:].cumsum(dim=1)
    across = (lengths * angles.cos()).sum(dim=1)
    up = x[:, 0] + (lengths * angles.sin()).sum(dim=1)
    return torch.stack([across, up], dim=1)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 4) of the exact posterior.

    The first two angles are drawn from the prior; the third and the rail follow from y, in two ways
    (elbow up or down) and up to whole turns. The importance weight of a solution is its prior
    density over the Jacobian |d y / d (rail, angle 3)|, the |sin| of the last segment's direction.
    `noise` is the factor S (2, 2) of Gaussian noise S eps on y (2,); without noise forward(draw)
    is y.

    Raises:
        InnflowError: The arm cannot reach y.
    """
    reach = sum(LENGTHS)
    if noise is None and abs(y[0]) >= reach:
        raise InnflowError(
            f"posterior: the arm cannot reach end x = {y[0]:.3g}; its length is {reach}"
        )
    first, second, third = LENGTHS
    branch = np.array([1.0, -1.0])[:, None, None]
    turns = 2 * np.pi * np.arange(-1.0, 2.0)[:, None]

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        one, two = ANGLE * rng.standard_normal((2, m))
        # Gaussian noise is symmetric: the true end given y is y plus noise.
        end = y if noise is None else y + rng.standard_normal((m, 2)) @ noise.T
        across, up = end[..., 0], end[..., 1]
        cosine = (across - first * np.cos(one) - second * np.cos(one + two)) / third
        reached = np.abs(cosine) < 1
        one, two, cosine = one[reached], two[reached], cosine[reached]
        up = np.broadcast_to(up, m)[reached]
        direction = branch * np.arccos(cosine) + turns
        sine = np.sqrt(1 - cosine**2)
        three = direction - one - two
        rail = up - first * np.sin(one) - second * np.sin(one + two) - branch * third * sine
        log = -0.5 * (rail / RAIL) ** 2 - 0.5 * (three / ANGLE) ** 2 - np.log(sine)
        draws = np.stack(np.broadcast_arrays(rail, one, two, three), axis=-1)
        return draws.reshape(-1, 4), log.ravel()

    return resample(propose, n, rng)
