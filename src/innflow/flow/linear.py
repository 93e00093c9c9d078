"""Invertible linear maps of dim 1: Glow's 1x1 convolution, also for vectors."""

import torch
import torch.nn.functional as F
from nflows.transforms.base import Transform
from torch import Tensor, nn


def multiply(weight: Tensor, inputs: Tensor) -> Tensor:
    """Return weight @ inputs over dim 1, for vectors (B, F) and images (B, F, H, W)."""
    if inputs.dim() == 2:
        return F.linear(inputs, weight)
    if inputs.is_cuda:  # a convolution of cuDNN rounds to TF32 by default, too coarse to invert
        return torch.einsum("ij,bjhw->bihw", weight, inputs)
    return F.conv2d(inputs, weight[:, :, None, None])


class LULinear(Transform):
    """y = W x over dim 1, with W = P L (U + diag(sign * exp(log_s))) (Glow, arXiv:1807.03039).

    P and the signs are fixed; the log-determinant is the sum of log_s times the number of pixels.
    W starts as a random rotation, so that the log-determinant starts at 0. Autocast is disabled: in
    bfloat16 the product could not be inverted.

    Args:
        features: size of dim 1.

    Example:
        >>> outputs, logabsdet = LULinear(4)(torch.randn(3, 4, 8, 8))
        >>> outputs.shape, logabsdet.shape
        (torch.Size([3, 4, 8, 8]), torch.Size([3]))
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
        """Map outputs (B, F, ...) of `forward` to its inputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.inverse_weight(), inputs), -self._logabsdet(inputs)


class Orthogonal(Transform):
    """y = Q x over dim 1 with a fixed random orthogonal Q; the log-determinant is 0.

    It mixes all features where a learned matrix would have too many parameters (the dense Glow of
    Schirrmeister et al., arXiv:2006.10848). Q is drawn uniformly from the orthogonal group and
    stored in the state dict. Autocast is disabled, as in `LULinear`.

    Args:
        features: size of dim 1.

    Example:
        >>> x = torch.randn(3, 4)
        >>> torch.allclose(Orthogonal(4)(x)[0].norm(dim=1), x.norm(dim=1))
        True
    """

    rotation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        draw = torch.randn(features, features, dtype=torch.float64)
        rotation, upper = torch.linalg.qr(draw)
        rotation = rotation * upper.diagonal().sign()  # else the distribution is not uniform
        self.register_buffer("rotation", rotation.to(torch.get_default_dtype()))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to the rotated tensor and zeros (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.rotation, inputs), inputs.new_zeros(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs (B, F, ...) of `forward` to its inputs and logabsdet (B,)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return multiply(self.rotation.T, inputs), inputs.new_zeros(inputs.shape[0])
