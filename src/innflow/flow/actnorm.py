"""ActNorm: a scale and a shift per feature, initialised to standardise the data."""

import torch
from torch import Tensor, nn

from innflow.flow.initialise import DataDependent, all_reduced

MIN_STD = 1e-2
"""Smallest standard deviation that is divided by: a constant feature (padding, a dark border)
must not get an infinite log-determinant."""


def per_feature(values: Tensor, inputs: Tensor) -> Tensor:
    """Return values (F,) in a shape that broadcasts over inputs (B, F, ...)."""
    return values.view(-1, *(1,) * (inputs.dim() - 2))


class ActNorm(DataDependent):
    """y = x * exp(log_scale) + shift for each feature of dim 1 (Glow, arXiv:1807.03039).

    It is the identity until `initialise` is called, and an ordinary layer afterwards.

    Args:
        features: size of dim 1.

    Example:
        >>> norm = ActNorm(1)
        >>> norm.initialise(torch.tensor([[0.0], [4.0]]))
        >>> norm(torch.tensor([[4.0]]))[0].detach().round(decimals=4)
        tensor([[1.]])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Set mean 0 and standard deviation 1 of every output over the batches of all ranks."""
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

    def _logabsdet(self, inputs: Tensor) -> Tensor:
        pixels = inputs.shape[2:].numel()
        return (pixels * self.log_scale.sum()).expand(len(inputs))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        scale, shift = per_feature(self.log_scale.exp(), inputs), per_feature(self.shift, inputs)
        return torch.addcmul(shift, inputs, scale), self._logabsdet(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs (B, F, ...) of `forward` to its inputs and -logabsdet (B,)."""
        scale, shift = per_feature(self.log_scale.exp(), inputs), per_feature(self.shift, inputs)
        return (inputs - shift) / scale, -self._logabsdet(inputs)
