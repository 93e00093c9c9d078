"""ActNorm: a scale and a shift per feature that start by standardising the data."""

from __future__ import annotations

import torch
import torch.distributed as dist
from nflows.transforms.base import Transform
from torch import Tensor, nn

MIN_STD = 1e-2
"""Smallest standard deviation that is divided by: a constant feature (padding, a dark border)
must not get an infinite log-determinant."""


class ActNorm(Transform):
    """y = x * exp(log_scale) + shift per feature of dim 1 (Glow, arXiv:1807.03039).

    It is the identity until `initialise` has seen data, and stays an ordinary layer afterwards:
    nothing in `forward` depends on whether that has happened.
    """

    initialised: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, inputs: Tensor) -> None:
        """Give every feature mean 0 and standard deviation 1 over the batches of all ranks."""
        flat = inputs.transpose(0, 1).flatten(1).double()
        moments = torch.stack(
            (torch.full_like(flat[:, 0], flat.shape[1]), flat.sum(1), flat.square().sum(1))
        )
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(moments)
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


@torch.no_grad()
def initialise(flow: nn.Module, inputs: Tensor, context: Tensor | None = None) -> None:
    """Run one batch through a flow and let each `ActNorm` standardise what reaches it.

    Layers that are initialised already (a resumed run) keep their values. Under distributed
    training every rank calls this with its own batch and all end with the same values.
    """
    pending = [m for m in flow.modules() if isinstance(m, ActNorm) and not bool(m.initialised)]
    hooks = [
        layer.register_forward_pre_hook(lambda layer, args: layer.initialise(args[0]))
        for layer in pending
    ]
    try:
        if pending:
            flow(inputs, context)
    finally:
        for hook in hooks:
            hook.remove()
