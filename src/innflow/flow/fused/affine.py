"""The affine bijection with its gradient written out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from innflow.flow.univariate import Affine


def linear(
    affine: Affine, x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Apply affine maps whose parameters are linear in the values of a hidden layer.

    Args:
        affine: the univariate.
        x: (B, F).
        hidden: (B, H).
        weight: (2 F, H).
        bias: (2 F,).

    Returns:
        y and log|dy/dx|, both (B, F), and the values that `linear_gradients` needs.
    """
    raw, shift = F.linear(hidden, weight, bias).chunk(2, dim=1)
    log_slope = (raw * (1 / affine.bound)).tanh_().mul_(affine.bound)
    return torch.addcmul(shift, x, log_slope.exp()), log_slope, (x, log_slope)


def linear_gradients(
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
