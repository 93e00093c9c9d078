"""SLCP, simple likelihood and complex posterior: four points of one Gaussian in the plane.

Prior: U(-3, 3) for each of five parameters. Forward model: four points drawn from the Gaussian with
mean (theta 1, theta 2), standard deviations theta 3^2 and theta 4^2 and correlation tanh(theta 5).
The signs of theta 3 and theta 4 do not affect the data, so the posterior has four equal modes.
Reference posterior: exact.

Source: Papamakarios et al., "Sequential neural likelihood" (arXiv:1805.07226), as in Lueckmann et
al., "Benchmarking simulation-based inference" (arXiv:2101.04653), without the 1e-6 that they add to
the variances.
"""

import math

import numpy as np
import torch
from numpy.random import Generator
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.distributions import Independent, Uniform

from innflow.errors import InnflowError
from innflow.problem.sampler.importance import resample

POINTS = 4
BOUND = 3.0
PARAMETERS = tuple(f"theta {i}" for i in range(1, 6))
OBSERVABLES = tuple(f"point {i} {axis}" for i in range(1, POINTS + 1) for axis in "uv")
# Degrees of freedom of the proposal, for which its weight is (1 - rho^2)^(1/4).
FREEDOM = 2.5

prior = Independent(Uniform(torch.full((5,), -BOUND), torch.full((5,), BOUND)), 1)


def forward(x: Tensor) -> Tensor:
    """Return random data (B, 8) for parameters (B, 5)."""
    scale = x[:, 2:4].square()[:, None]
    correlation = x[:, 4:5].tanh()
    one, other = torch.randn(2, len(x), POINTS, dtype=x.dtype, device=x.device)
    # 1 / cosh is the square root of 1 - tanh^2, without the cancellation.
    other = correlation * one + other / x[:, 4:5].cosh()
    points = x[:, None, :2] + scale * torch.stack([one, other], dim=2)
    return points.flatten(1)


def log_likelihood(y: Tensor, x: Tensor) -> Tensor:
    """Return log p(y | x) in nats (B,) of data (8,) and parameters (B, 5)."""
    wide = x.double()
    scale = wide[:, None, 2:4].square()
    one, other = ((y.double().reshape(POINTS, 2) - wide[:, None, :2]) / scale).unbind(dim=2)
    correlation, steepness = wide[:, 4:5].tanh(), wide[:, 4:5].cosh()
    square = one.square() + ((other - correlation * one) * steepness).square()
    log_volume = scale.log().sum(dim=2) - steepness.log() + math.log(2 * math.pi)
    return (-0.5 * square - log_volume).sum(dim=1)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 5) of the exact posterior.

    Let A be the scatter matrix of the points. Integrated over a flat mean, the likelihood of their
    covariance S is |S|^(-3/2) exp(-tr(A / S) / 2), and the uniform prior of theta 3 to 5 gives S
    the density |theta 3 theta 4|^-5 / (1 - rho^2). S is proposed from the inverse Wishart
    distribution with scale A and 2.5 degrees of freedom, of density |S|^(-11/4) exp(-tr(A / S) /
    2), so its importance weight is (1 - rho^2)^(1/4). The mean given S is Gaussian about that of
    the points, and the two signs are random. Where possible they are drawn truncated to the prior's
    box, with the mass of the box as a factor of the weight; other draws outside it are rejected.

    Raises:
        InnflowError: Noise is given, the points lie on one line, or hardly any parameter leads to
            them.
    """
    if noise is not None:
        raise InnflowError(
            "posterior: slcp has no exact posterior with additional noise on the data; leave"
            " the noise out"
        )
    points = np.asarray(y, dtype=float).reshape(POINTS, 2)
    # The axis with the wider scatter comes first: truncation by the prior's box affects it most.
    order = np.argsort(-points.var(axis=0))
    points = points[:, order]
    centre = points.mean(axis=0)
    # R^T R is the scatter A, which may be nearly singular.
    (first, shared), (_, second) = np.linalg.qr(points - centre, mode="r")
    first, shared, second = abs(first), shared * np.sign(first), abs(second)
    if not min(first, second) > 0:
        raise InnflowError(
            "posterior: the four points of slcp lie on one line, so their covariance has no"
            " posterior; give other data"
        )
    steepest = np.sinh(BOUND)

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        # An inverse Wishart S is made of two chi-square variables, for the variance of u and for
        # that of v given u, and of a Gaussian one for the slope of v over u.
        one, log_one = _chi_square(FREEDOM - 1, first**2 / BOUND**4, np.full(m, np.inf), rng)
        normal = rng.standard_normal(m)
        # sinh(theta 5) = rho / sqrt(1 - rho^2) = (shared / second sqrt(two) + normal) / sqrt(one).
        room = np.maximum(steepest * np.sqrt(one) - np.sign(shared) * normal, 0)
        with np.errstate(divide="ignore"):
            most = (room * second / abs(shared)) ** 2
        two, log_two = _chi_square(FREEDOM, second**2 / BOUND**4, most, rng)
        across, rest = first**2 / one, second**2 / two
        slope = (shared + normal * np.sqrt(rest)) / first
        up = rest + slope**2 * across
        last = np.arcsinh(slope * np.sqrt(across / rest))
        u, log_u = _box(centre[0], across, rng)
        v, log_v = _box(centre[1] + slope * (u - centre[0]), rest, rng)
        log = log_one + log_two + log_u + log_v + 0.25 * np.log(rest / up)
        sign = rng.choice([-1.0, 1.0], (2, m))
        means = np.stack([u, v])[order]
        roots = sign * np.stack([across, up])[order] ** 0.25
        draws = np.concatenate([means, roots, last[None]]).T
        inside = (np.abs(draws) < BOUND).all(axis=1) & np.isfinite(log)
        return draws[inside], log[inside]

    return resample(propose, n, rng)


def _chi_square(
    freedom: float, least: float, most: np.ndarray, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return chi-square draws between `least` and `most` (m,), and their log weights."""
    # The exponential factor of the density is sampled exactly; the power factor is the weight.
    mass = -np.expm1(-0.5 * np.maximum(most - least, 0))
    draw = least - 2 * np.log1p(-mass * rng.random(mass.shape))
    with np.errstate(divide="ignore"):
        return draw, (freedom / 2 - 1) * np.log(draw) + np.log(mass)


def _box(
    centre: np.ndarray | float, variance: np.ndarray, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of the mean of four points within the prior's box, and the box's log mass."""
    spread = np.sqrt(variance / POINTS)
    # Mirrored so that the box lies in the left tail, where ndtr is accurate.
    side = np.where(np.asarray(centre) < 0, -1.0, 1.0)
    low, high = (ndtr((edge - side * centre) / spread) for edge in (-BOUND, BOUND))
    share = low + rng.random(spread.shape) * (high - low)
    with np.errstate(divide="ignore"):
        return side * (side * centre + spread * ndtri(share)), np.log(high - low)
