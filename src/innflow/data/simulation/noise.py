"""Declared noise of data: y = f(x) + S eps, with eps standard normal."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.simulation.imports import describe, resolve
from innflow.errors import InnflowError

Noise = float | list[float] | list[list[float]] | str
"""One standard deviation, one per observable, a factor S, or the import path of one of these."""


def noise_factor(noise: Noise | None, dims: int) -> np.ndarray | None:
    """Return the lower-triangular factor S (M, M), float64, of a setting; None for no noise.

    Raises:
        InnflowError: S is not lower-triangular of size M = `dims` with a positive diagonal.
    """
    value: Any = resolve(noise, "data.noise").value if isinstance(noise, str) else noise
    if value is None:
        return None
    value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    where = f"data.noise={noise}"
    try:
        given = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InnflowError(f"{where}: not numbers ({describe(error)})") from None
    if given.shape not in ((), (dims,), (dims, dims)):
        raise InnflowError(
            f"{where} has the shape {given.shape} for {dims} observables: give one standard "
            f"deviation, {dims} of them, or a lower-triangular {dims} x {dims} factor"
        )
    factor = given if given.ndim == 2 else np.diag(np.broadcast_to(given, dims))
    if not np.isfinite(factor).all() or (np.diag(factor) <= 0).any():
        raise InnflowError(f"{where}: standard deviations must be positive and finite")
    if np.triu(factor, 1).any():
        raise InnflowError(
            f"{where}: its factor is not lower triangular: give numpy.linalg.cholesky(covariance)"
        )
    return factor


def draw_noise(shape: Sequence[int], seed: Sequence[int]) -> Tensor:
    """Return standard normal noise eps of a shape and a seed."""
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    return torch.randn(*shape, generator=torch.Generator().manual_seed(number))


def add_noise(y: Tensor, factor: np.ndarray, eps: Tensor) -> Tensor:
    """Return data y (N, M) plus noise S eps, for eps (N, M) and S (M, M)."""
    return (y.double() + eps.double() @ torch.from_numpy(factor).T).float()


def noise_log_prob(residual: Tensor, factor: np.ndarray) -> Tensor:
    """Return the log density in nats (N,), float64, of noise S eps (N, M); -inf where not finite.

    >>> noise_log_prob(torch.zeros(1, 1), np.eye(1)).round(decimals=3)
    tensor([-0.9190], dtype=torch.float64)
    """
    scale = torch.from_numpy(factor)
    eps = torch.linalg.solve_triangular(scale, residual.double().T, upper=False)
    volume = scale.diagonal().log().sum() + 0.5 * len(scale) * math.log(2 * math.pi)
    return (-0.5 * eps.square().sum(dim=0) - volume).nan_to_num(nan=-math.inf, neginf=-math.inf)
