"""Couplings: one part of the features is changed by a function of the rest.

The Jacobian is triangular, so the log-determinant is a sum over the changed features, and the
inverse costs as much as the forward pass (Dinh et al., arXiv:1605.08803).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.univariate import Affine, Univariate

Subnet = Callable[..., nn.Module]
"""`subnet(inputs, outputs, context=0)` gives a module called as `net(x, context)`."""


def sum_features(values: Tensor) -> Tensor:
    """Sum over all axes but the batch: (B, ...) to (B,)."""
    return values.flatten(1).sum(dim=1)


class Coupling(Transform):
    """Change the second half of dim 1 by a function of the first half.

    The halves are contiguous, so that a split is a view and the join one copy; permutations or
    1x1 convolutions between couplings decide what stands in which half.

    Args:
        features: size of dim 1; the conditioning half gets the odd one. A single feature has no
            other half: it is changed by a function of the context alone.
        subnet: makes the coupling network, see `Subnet`.
        univariate: what is done to each changed feature.
        context: number of context features, 0 for none.
    """

    def __init__(
        self, features: int, subnet: Subnet, univariate: Univariate | None = None, context: int = 0
    ) -> None:
        super().__init__()
        if features < 1 or (features == 1 and not context):
            raise InnflowError(
                f"coupling: features={features}, a coupling without context needs at least 2"
            )
        self.univariate = univariate or Affine()
        changed = max(features // 2, 1)
        self.sizes = (features - changed, changed)
        self.net = subnet(
            self.sizes[0], self.sizes[1] * self.univariate.parameters, context=context
        )

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        fixed, changed = inputs.split(self.sizes, dim=1)
        parameters = self.net(fixed, context).to(inputs.dtype)
        changed, log_slope = self.univariate.forward(changed, parameters)
        return torch.cat((fixed, changed), dim=1), sum_features(log_slope)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        fixed, changed = inputs.split(self.sizes, dim=1)
        parameters = self.net(fixed, context).to(inputs.dtype)
        changed, log_slope = self.univariate.inverse(changed, parameters)
        return torch.cat((fixed, changed), dim=1), sum_features(log_slope)


class MaskedCoupling(Transform):
    """Change the pixels outside a spatial mask by a function of the pixels inside.

    The network sees the image with the changed pixels set to 0 and gives parameters at every
    pixel, of which only those at changed pixels count.

    Args:
        channels: channels C of the image.
        mask: boolean, broadcast over (C, H, W), true where pixels stay and condition.
        subnet: makes the coupling network, see `Subnet`.
        univariate: what is done to each changed pixel.
        context: number of context features, 0 for none.
    """

    mask: Tensor

    def __init__(
        self,
        channels: int,
        mask: Tensor,
        subnet: Subnet,
        univariate: Univariate | None = None,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.univariate = univariate or Affine()
        self.register_buffer("mask", mask.bool())
        self.net = subnet(channels, channels * self.univariate.parameters, context=context)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to outputs and logabsdet (B,)."""
        parameters = self.net(inputs * self.mask, context).to(inputs.dtype)
        outputs, log_slope = self.univariate.forward(inputs, parameters)
        return inputs.where(self.mask, outputs), sum_features(log_slope * ~self.mask)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        parameters = self.net(inputs * self.mask, context).to(inputs.dtype)
        outputs, log_slope = self.univariate.inverse(inputs, parameters)
        return inputs.where(self.mask, outputs), sum_features(log_slope * ~self.mask)
