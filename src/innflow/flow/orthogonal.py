"""Orthogonal: a random rotation of dim 1 that is never trained."""

from __future__ import annotations

import torch
from nflows.transforms.base import Transform
from torch import Tensor

from innflow.flow.linear import multiply


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
