"""Invertible linear maps of dim 1: Glow's 1x1 convolution, also for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.flow.actnorm import ActNorm
from innflow.flow.network.base import has_hooks


class LULinear(Transform):
    """y = W x over dim 1, with W = P L (U + diag(sign * exp(log_s))) (Glow, arXiv:1807.03039).

    P and the signs are fixed; the log-determinant is the sum of log_s, times the number of pixels.
    W starts as a random rotation, so the log-determinant starts at 0. Always computed in the
    precision of the input: under autocast a product in bfloat16 would not be invertible.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(features, features, dtype=torch.float64)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.argmax(dim=0))
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())

    def _factors(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(len(self.log_s), device=self.log_s.device, dtype=self.log_s.dtype)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        return self.lower.tril(-1) + identity, upper

    def weight(self) -> Tensor:
        """Return W, (F, F)."""
        lower, upper = self._factors()
        return (lower @ upper).index_select(0, self.permutation.argsort())

    def inverse_weight(self) -> Tensor:
        """Return the inverse of W, (F, F), by two triangular solves in double precision."""
        lower, upper = (factor.double() for factor in self._factors())
        identity = torch.eye(len(lower), device=lower.device, dtype=lower.dtype)
        middle = torch.linalg.solve_triangular(
            lower, identity[self.permutation], upper=False, unitriangular=True
        )
        return torch.linalg.solve_triangular(upper, middle, upper=True).to(self.log_s.dtype)

    def _logabsdet(self, inputs: Tensor) -> Tensor:
        return (inputs.shape[2:].numel() * self.log_s.sum()).expand(inputs.shape[0])

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.weight(), inputs), self._logabsdet(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.inverse_weight(), inputs), -self._logabsdet(inputs)


def multiply(weight: Tensor, inputs: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return weight @ inputs (+ bias) over dim 1, for vectors (B, F) and images (B, F, H, W)."""
    if inputs.dim() == 2:
        return F.linear(inputs, weight, bias)
    return F.conv2d(inputs, weight[:, :, None, None], bias)


def goes_back(steps: Sequence[Any]) -> bool:
    """Say whether these are an ActNorm and an LULinear, with nobody listening."""
    return tuple(map(type, steps)) == (ActNorm, LULinear) and not any(map(has_hooks, steps))


def take_back(
    steps: Sequence[Any], outputs: Tensor, of_outputs: Tensor, of_logabsdet: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Go back through an ActNorm and an LULinear from their outputs alone, as one linear map.

    Autograd is asked about the map alone, (F, F), never about the data.

    Args:
        steps: the two.
        outputs: (B, F, ...).
        of_outputs: the gradient of the outputs, of their shape.
        of_logabsdet: (B,), that of all log-determinants.

    Returns:
        The inputs and their gradient, both (B, F, ...), and parameters with theirs.
    """
    norm, linear = steps
    with torch.enable_grad():
        weight = linear.weight()
        whole, bias = weight * norm.log_scale.exp(), weight @ norm.shift
        volume = outputs.shape[2:].numel() * (norm.log_scale.sum() + linear.log_s.sum())
    scale = torch.exp(-norm.log_scale)
    inverse = scale[:, None] * linear.inverse_weight()
    inputs = multiply(inverse, outputs, -scale * norm.shift)
    of_inputs = multiply(whole.detach().t(), of_outputs)
    of_rows, seen = (each.movedim(1, -1).flatten(0, -2) for each in (of_outputs, inputs))
    leaves = [p for step in steps for p in step.parameters() if p.requires_grad]
    if not leaves:
        return inputs, of_inputs, []
    of_ends = (of_rows.t().mm(seen), of_rows.sum(0), of_logabsdet.sum())
    found = torch.autograd.grad((whole, bias, volume), leaves, of_ends)
    return inputs, of_inputs, list(zip(leaves, found, strict=True))


class Orthogonal(Transform):
    """y = Q x over dim 1 with a fixed random orthogonal Q; the log-determinant is 0.

    It mixes all features where a learned matrix would have too many parameters (the dense Glow of
    Schirrmeister et al., arXiv:2006.10848). Q is uniform over the orthogonal group, drawn by the
    seed and kept in the state dict; its inverse is its transpose, so that nothing else is kept.
    Always computed in the precision of the input, as `LULinear`.

    Args:
        features: size of dim 1.
    """

    rotation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        draw = torch.randn(features, features, dtype=torch.float64)
        rotation, upper = torch.linalg.qr(draw)
        rotation = rotation * upper.diagonal().sign()  # without it QR prefers some rotations
        self.register_buffer("rotation", rotation.to(torch.get_default_dtype()))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to the rotated tensor and zeros (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.rotation, inputs), inputs.new_zeros(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.rotation.T, inputs), inputs.new_zeros(inputs.shape[0])
