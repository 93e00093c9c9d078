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

    def observe(
        self, inputs: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log s and t, each (B, F, ...), log s and t 0 where features stay."""
        fixed, changed = inputs.split(self.sizes, dim=1)
        parameters = self.net(fixed, context).to(inputs.dtype)
        outputs, _ = self.univariate.forward(changed, parameters)
        log_scale, shift = self.univariate.log_scale_shift(changed, parameters)
        none = torch.zeros_like(fixed)
        return (
            torch.cat((fixed, outputs), dim=1),
            torch.cat((none, log_scale), dim=1),
            torch.cat((none, shift), dim=1),
        )


class MaskedCoupling(Transform):
    """Change some pixels by a function of others.

    The network sees the image with all but the conditioning pixels set to 0 and gives parameters
    at every pixel, of which only those at changed pixels count.

    Args:
        channels: channels C of the image.
        mask: boolean, broadcast over (C, H, W), true at the pixels that condition.
        subnet: makes the coupling network, see `Subnet`.
        univariate: what is done to each changed pixel.
        context: number of context features, 0 for none.
        changes: likewise, true at the pixels that are changed; all that do not condition where it
            is not given. Pixels of neither mask stay and are not seen.
    """

    mask: Tensor
    changes: Tensor | None

    def __init__(
        self,
        channels: int,
        mask: Tensor,
        subnet: Subnet,
        univariate: Univariate | None = None,
        context: int = 0,
        changes: Tensor | None = None,
    ) -> None:
        super().__init__()
        if changes is not None and (mask.bool() & changes.bool()).any():
            raise InnflowError(
                "masked coupling: a pixel both conditions and changes, which cannot be inverted: "
                "takes masks that do not overlap"
            )
        self.univariate = univariate or Affine()
        self.register_buffer("mask", mask.bool())
        self.register_buffer("changes", None if changes is None else changes.bool())
        self.net = subnet(channels, channels * self.univariate.parameters, context=context)

    def _stays(self) -> Tensor:
        return self.mask if self.changes is None else ~self.changes

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to outputs and logabsdet (B,)."""
        stays = self._stays()
        parameters = self.net(inputs * self.mask, context).to(inputs.dtype)
        outputs, log_slope = self.univariate.forward(inputs, parameters)
        return inputs.where(stays, outputs), sum_features(log_slope * ~stays)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        stays = self._stays()
        parameters = self.net(inputs * self.mask, context).to(inputs.dtype)
        outputs, log_slope = self.univariate.inverse(inputs, parameters)
        return inputs.where(stays, outputs), sum_features(log_slope * ~stays)

    def observe(
        self, inputs: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log s and t, each (B, C, H, W), log s and t 0 where pixels stay."""
        stays = self._stays()
        parameters = self.net(inputs * self.mask, context).to(inputs.dtype)
        outputs, _ = self.univariate.forward(inputs, parameters)
        log_scale, shift = self.univariate.log_scale_shift(inputs, parameters)
        return inputs.where(stays, outputs), log_scale * ~stays, shift * ~stays
