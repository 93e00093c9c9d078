"""The affine bijection with its gradient written out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from innflow.flow.univariate import Affine


def linear(affine: Affine, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the parameters of `apply` (B, 2 F), linear in hidden values (B, H)."""
    return F.linear(hidden, weight, bias)


def apply(
    affine: Affine, x: Tensor, parameters: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return y and log|dy/dx| of x (B, F), and the values that `gradients` needs."""
    raw, shift = parameters.chunk(2, dim=1)
    log_slope = (raw * (1 / affine.bound)).tanh_().mul_(affine.bound)
    return torch.addcmul(shift, x, log_slope.exp()), log_slope, (x, log_slope)


def undo(affine: Affine, y: Tensor, parameters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return x of y (B, F), the inverse of `apply`, and the values that `gradients` needs."""
    x, minus_log_slope = affine.inverse(y, parameters)
    return x, (x, -minus_log_slope)


def gradients(
    affine: Affine, kept: Sequence[Tensor], grad_y: Tensor, grad_log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x (B, F) and of the parameters (B, 2 F)."""
    x, log_slope = kept
    grad_x = grad_y * log_slope.exp()
    grad_slope = torch.addcmul(grad_log_slope, grad_x, x)
    # The derivative of bound * tanh(raw / bound) is 1 - (log_slope / bound)^2.
    factor = -1 / affine.bound**2
    grad_raw = torch.addcmul(grad_slope, grad_slope, log_slope.square(), value=factor)
    return grad_x, torch.cat((grad_raw, grad_y), dim=1)
