"""Univariate bijections: the functions that couplings apply to each changed feature."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from innflow.errors import InnflowError


class Univariate(Protocol):
    """A monotone bijection of the real line, given its parameters; the identity where they are 0.

    It holds no weights: a coupling network computes the parameters.
    """

    @property
    def parameters(self) -> int:
        """Number of parameters per feature."""

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F, ...) with parameters (B, F * parameters, ...) to y and log|dy/dx|."""

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map y to x and log|dx/dy|."""

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return log|dy/dx| and a shift at x, for display."""


@dataclass(frozen=True)
class Affine:
    """y = x * exp(log_scale) + shift with |log_scale| < bound (RealNVP, arXiv:1605.08803).

    The log-scale is `bound * tanh(raw / bound)`, with value 0 and slope 1 at raw = 0. Of the
    parameters (B, 2 F, ...) the first half of dim 1 are the raw log-scales, the second the shifts.

    Args:
        bound: of the absolute value of the log-scale, above 0.

    Raises:
        InnflowError: if the bound is not above 0.

    Example:
        >>> y, log_slope = Affine().forward(torch.tensor([[3.0]]), torch.tensor([[0.0, 1.0]]))
        >>> y, log_slope
        (tensor([[4.]]), tensor([[0.]]))
    """

    bound: float = 2.0

    def __post_init__(self) -> None:
        """Check the bound."""
        if self.bound <= 0:
            raise InnflowError(f"affine coupling: bound={self.bound} must be above 0")

    @property
    def parameters(self) -> int:
        """Number of parameters per feature: raw log-scale and shift."""
        return 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F, ...) to y and log|dy/dx|."""
        log_scale, shift = self.log_scale_shift(x, parameters)
        return x * torch.exp(log_scale) + shift, log_scale

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map y (B, F, ...) to x and log|dx/dy|."""
        log_scale, shift = self.log_scale_shift(y, parameters)
        return (y - shift) * torch.exp(-log_scale), -log_scale

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift, both (B, F, ...); they do not depend on x."""
        raw, shift = parameters.chunk(2, dim=1)
        return self.bound * torch.tanh(raw / self.bound), shift
