"""ActNorm: a scale and a shift per feature that start by standardising the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from innflow.flow.initialise import DataDependent, all_reduced

MIN_STD = 1e-2
"""Smallest standard deviation that is divided by: a constant feature (padding, a dark border)
must not get an infinite log-determinant."""


class ActNorm(DataDependent):
    """y = x * exp(log_scale) + shift per feature of dim 1 (Glow, arXiv:1807.03039).

    It is the identity until `initialise` has seen data, and an ordinary layer afterwards.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Give every feature mean 0 and standard deviation 1 over the batches of all ranks."""
        flat = inputs.transpose(0, 1).flatten(1).double()
        moments = torch.stack(
            (torch.full_like(flat[:, 0], flat.shape[1]), flat.sum(1), flat.square().sum(1))
        )
        moments = all_reduced(moments)
        mean = moments[1] / moments[0]
        std = (moments[2] / moments[0] - mean.square()).clamp(min=MIN_STD**2).sqrt()
        self.log_scale.copy_(-std.log())
        self.shift.copy_(-mean / std)
        self.initialised.fill_(True)

    def _broadcast(self, values: Tensor, inputs: Tensor) -> Tensor:
        return values.view(1, -1, *(1,) * (inputs.dim() - 2))

    def _logabsdet(self, inputs: Tensor) -> Tensor:
        pixels = inputs.shape[2:].numel()
        return (pixels * self.log_scale.sum()).expand(inputs.shape[0])

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        scale = self._broadcast(self.log_scale.exp(), inputs)
        return torch.addcmul(self._broadcast(self.shift, inputs), inputs, scale), self._logabsdet(
            inputs
        )

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        scale = self._broadcast((-self.log_scale).exp(), inputs)
        outputs = (inputs - self._broadcast(self.shift, inputs)) * scale
        return outputs, -self._logabsdet(inputs)
