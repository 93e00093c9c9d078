"""Shear velocities of the crust from the dispersion of Rayleigh waves.

Prior: the shear velocities in km/s of seven layers, 2 to 10 km thick, and of the half-space below
30 km, each uniform within its own bounds; P velocity is 1.73 times the shear velocity, and density
follows from it. Forward model: the phase velocities in km/s of the fundamental mode at 12 periods
from 4 to 30 s, by `disba` (pip install 'innflow[dispersion]'), 0.8 ms a profile. Noise: standard
deviation 0.03 km/s. Reference posterior: importance sampling after tempering.
"""

from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from numpy.random import Generator
from scipy.special import ndtr
from torch import Tensor
from torch.distributions import Independent, Uniform

from innflow.errors import InnflowError
from innflow.problem.sampler.importance import resample
from innflow.problem.sampler.laplace import make_misfit
from innflow.problem.sampler.tempering import draw_tempered

NOISE = 0.03  # km/s

_THICKNESS = np.array([2.0, 2, 3, 3, 5, 5, 10, 1000])  # km; disba ignores the last, the half-space
_LOW = np.array([1.5, 1.8, 2.2, 2.5, 2.8, 3.0, 3.2, 3.8])  # km/s
_HIGH = np.array([3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.4, 4.8])
_PERIODS = np.geomspace(4, 30, 12)  # s
_TOP = np.concatenate([[0], np.cumsum(_THICKNESS[:-1])])

PARAMETERS = tuple(f"vs below {z:.0f} km" for z in _TOP)
OBSERVABLES = tuple(f"phase velocity {t:.1f} s" for t in _PERIODS)

prior = Independent(Uniform(torch.from_numpy(_LOW).float(), torch.from_numpy(_HIGH).float()), 1)


def forward(x: Tensor) -> Tensor:
    """Return the phase velocities (B, 12) in km/s of shear velocities x (B, 8) in km/s.

    A row is NaN where disba finds no fundamental mode, which did not occur within the prior.

    Raises:
        InnflowError: disba is not installed.
    """
    return torch.from_numpy(_phase_velocity(x.detach().cpu().double().numpy())).to(x)


def posterior(y: np.ndarray, n: int, rng: Generator, noise: np.ndarray | None) -> np.ndarray:
    """Return draws (n, 8) of the shear velocities given the phase velocities y (12,), in km/s.

    The posterior is narrow and curved. Sequential Monte Carlo with a cubic polynomial in place of
    the forward model (error at most 0.005 km/s) gives proposals, which are weighted with disba.
    `noise` is the lower triangular factor S (12, 12) of the noise covariance in km/s.

    Raises:
        InnflowError: an observable has no noise, disba is not installed, or the polynomial is too
            inaccurate, as with noise below 0.005 km/s.
    """
    rough_misfit = make_misfit(_polynomial, y, noise)
    misfit = make_misfit(lambda w: _phase_velocity(_velocity(w)), y, noise)

    def propose(count: int) -> tuple[np.ndarray, np.ndarray]:
        w = draw_tempered(lambda w: -_half_square(rough_misfit(w)), len(PARAMETERS), count, rng)
        log_weight = _half_square(rough_misfit(w)) - _half_square(misfit(w))
        found = np.isfinite(log_weight)
        return w[found], log_weight[found]

    batch = min(10_000, max(200, 10 * n))
    draws = resample(propose, n, rng, limit=100_000, oversampling=2, batch=batch, floor=n)
    return _velocity(draws)


def _phase_velocity(shear: np.ndarray) -> np.ndarray:
    """Return the phase velocities (B, 12) in km/s of shear velocities (B, 8) in km/s."""
    try:
        from disba import DispersionError, PhaseDispersion
    except ImportError as error:
        raise InnflowError(
            "the dispersion problem needs disba: pip install 'innflow[dispersion]'"
        ) from error
    shear = np.ascontiguousarray(shear)  # otherwise numba compiles disba again
    pressure = 1.73 * shear
    # Brocher, Bulletin of the Seismological Society of America 95 (2005), eq. 1; g/cm^3.
    density = np.polyval([0.000106, -0.0043, 0.0671, -0.4721, 1.6612, 0], pressure)
    velocity = np.full((len(shear), len(_PERIODS)), np.nan)
    for row, layers in zip(velocity, zip(pressure, shear, density, strict=True), strict=True):
        try:
            found = PhaseDispersion(_THICKNESS, *layers)(_PERIODS).velocity
        except DispersionError:
            continue
        if len(found) == len(row):
            row[:] = found
    return velocity


def _velocity(w: np.ndarray) -> np.ndarray:
    """Return the shear velocities (B, 8) in km/s of white coordinates (B, 8)."""
    return _LOW + (_HIGH - _LOW) * ndtr(w)


def _half_square(misfit: np.ndarray) -> np.ndarray:
    return (misfit**2).sum(axis=1) / 2


# Each monomial of degree 3 in (1, velocities) is one of degree 2 times another factor.
_SQUARES = np.array(list(combinations_with_replacement(range(9), 2)))
_SQUARE_OF = np.zeros((9, 9), dtype=int)
_SQUARE_OF[tuple(_SQUARES.T)] = np.arange(len(_SQUARES))
_CUBES = np.array(list(combinations_with_replacement(range(9), 3)))


def _polynomial(w: np.ndarray) -> np.ndarray:
    """Return the approximate phase velocities (B, 12) in km/s of white coordinates (B, 8)."""
    parts = np.array_split(w, max(1, len(w) // 500))  # each fits the processor's cache
    return np.concatenate([(_coefficients() @ _monomials(part)).T for part in parts])


def _monomials(w: np.ndarray) -> np.ndarray:
    """Return the monomials (165, B) up to degree 3 of the velocities, scaled to -1 and 1."""
    factors = np.vstack([np.ones(len(w)), 2 * ndtr(w.T) - 1])
    squares = factors[_SQUARES[:, 0]] * factors[_SQUARES[:, 1]]
    return squares[_SQUARE_OF[_CUBES[:, 0], _CUBES[:, 1]]] * factors[_CUBES[:, 2]]


@cache
def _coefficients() -> np.ndarray:
    """Return the coefficients (12, 165) of the polynomial, fitted to 3,000 draws of the prior."""
    w = np.random.default_rng(0).standard_normal((3000, len(PARAMETERS)))
    velocity = _phase_velocity(_velocity(w))
    return np.linalg.lstsq(_monomials(w).T, velocity, rcond=None)[0].T
