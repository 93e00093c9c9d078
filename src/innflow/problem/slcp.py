"""SLCP, simple likelihood and complex posterior: four points of one Gaussian in the plane.

Parameters: U(-3, 3) each; the mean is (theta 1, theta 2), the standard deviations are theta 3^2 and
theta 4^2, the correlation is tanh(theta 5). The signs of theta 3 and theta 4 leave no trace in the
data, so the posterior has four equal modes. Data: the points, one after the other. The simulator is
stochastic itself.

Source: Papamakarios et al., "Sequential neural likelihood" (2019), as in Lueckmann et al.,
"Benchmarking simulation-based inference" (2021), without the 1e-6 that they add to the variances.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.distributions import Independent, Uniform

from innflow.errors import InnflowError
from innflow.problem.importance import resample

POINTS = 4
BOUND = 3.0
PARAMETERS = tuple(f"theta {i}" for i in range(1, 6))
OBSERVABLES = tuple(f"point {i} {axis}" for i in range(1, POINTS + 1) for axis in "uv")
# The degrees of freedom for which the proposal of `posterior` equals it but for (1 - rho^2)^(1/4).
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


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 5) of the exact posterior.

    Let A be the scatter matrix of the points. With a flat mean integrated out, the likelihood of
    their covariance S is |S|^(-3/2) exp(-tr(A / S) / 2), and the uniform prior of theta 3 to 5
    gives S the density |theta 3 theta 4|^-5 / (1 - rho^2). Under draws of S from the inverse
    Wishart law with scale A and 2.5 degrees of freedom, of density |S|^(-11/4) exp(-tr(A / S) / 2),
    their product weighs (1 - rho^2)^(1/4). The mean given S is Gaussian about that of the points,
    and the two signs are coins; every variable is drawn within the prior's box, the mass of which
    is one more weight.

    Args:
        y: (8,) data.
        n: Number of draws.
        rng: Of the draws.
        noise: Must be None.

    Returns:
        Draws (n, 5).

    Raises:
        InnflowError: Where noise is given, the points lie on one line, or hardly any parameter
            leads to them.
    """
    if noise is not None:
        raise InnflowError(
            "posterior: slcp knows no exact posterior under additional noise on the data; leave"
            " the noise out"
        )
    points = np.asarray(y, dtype=float).reshape(POINTS, 2)
    centre = points.mean(axis=0)
    # R^T R is the scatter A, which may be all but singular.
    (first, shared), (_, second) = np.linalg.qr(points - centre, mode="r")
    if not min(abs(first), abs(second)) > 0:
        raise InnflowError(
            "posterior: the four points of slcp lie on one line, so their covariance has no"
            " posterior; give other data"
        )

    def propose(m: int) -> tuple[np.ndarray, np.ndarray]:
        # An inverse Wishart S is made of three: the variance of u; that of v given u; the slope.
        across, log_across = _variance(first**2, FREEDOM - 1, m, rng)
        rest, log_rest = _variance(second**2, FREEDOM, m, rng)
        # tanh(theta 5) = rho bounds it, as does the variance of v.
        steepest = np.minimum(
            np.sinh(BOUND) * np.sqrt(rest), np.sqrt(np.maximum(BOUND**4 - rest, 0))
        )
        steepest /= np.sqrt(across)
        slope, log_slope = _within(steepest, shared / first, np.sqrt(rest) / abs(first), rng)
        up = rest + slope**2 * across
        u, log_u = _within(BOUND, centre[0], np.sqrt(across / POINTS), rng)
        line = centre[1] + slope * (u - centre[0])
        v, log_v = _within(BOUND, line, np.sqrt(rest / POINTS), rng)
        # sinh(theta 5) = rho / sqrt(1 - rho^2).
        last = np.arcsinh(slope * np.sqrt(across / rest))
        sign = rng.choice([-1.0, 1.0], (2, m))
        draws = np.stack([u, v, sign[0] * across**0.25, sign[1] * up**0.25, last], axis=1)
        log = log_across + log_rest + log_slope + log_u + log_v + 0.25 * np.log(rest / up)
        inside = np.isfinite(log)
        return draws[inside], log[inside]

    return resample(propose, n, rng)


def _variance(
    scale: float, freedom: float, m: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `scale` over a chi-square variable within the prior's box; with it the log weight."""
    # The chi-square law beyond the least value allowed, proposed as that value plus the whole law.
    more = rng.chisquare(freedom, m)
    chi = scale / BOUND**4 + more
    return scale / chi, (freedom / 2 - 1) * np.log(chi / more)


def _within(
    bound: np.ndarray | float, centre: np.ndarray | float, spread: np.ndarray, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw Gaussian variables within -bound and bound; with them the log mass there."""
    # Mirrored so that the interval lies to the left, where the distribution keeps its digits.
    side = np.where(np.asarray(centre) < 0, -1.0, 1.0)
    low, high = (ndtr((end - side * centre) / spread) for end in (-bound, bound))
    with np.errstate(divide="ignore"):
        mass = np.log(high - low)
    share = low + rng.random(spread.shape) * (high - low)
    draw = side * (side * centre + spread * ndtri(share))
    return np.clip(draw, -bound, bound), mass
