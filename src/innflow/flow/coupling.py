"""Couplings: one part of the features is changed by a function of the rest.

The Jacobian is triangular, so the log-determinant is a sum over the changed features, and the
inverse costs as much as the forward pass (Dinh et al., arXiv:1605.08803).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.fused.gradient import AffineCoupling
from innflow.flow.network.mlp import MLP
from innflow.flow.univariate import Affine, Spline, Univariate

Subnet = Callable[..., nn.Module]
"""`subnet(inputs, outputs, context=0)` gives a module called as `net(x, context)`."""


def sum_features(values: Tensor) -> Tensor:
    """Sum over all axes but the batch: (B, ...) to (B,)."""
    # Not flattened first: with channels last in memory that would be a copy.
    return values.sum(dim=list(range(1, values.dim())))


class BaseCoupling(Transform):
    """What couplings share: parameters from what stays, used to change the rest."""

    @abstractmethod
    def _parameters(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        """Return what the network says, from inputs or outputs: it reads only what stays."""

    @abstractmethod
    def _transform(self, inputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map inputs to outputs and logabsdet (B,), given parameters."""

    @abstractmethod
    def _invert(self, outputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map outputs to inputs and the logabsdet (B,) of this direction, given parameters."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        return self._transform(inputs, self._parameters(inputs, context))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        return self._invert(inputs, self._parameters(inputs, context))

    def retrace(
        self, outputs: Tensor, context: Tensor | None = None
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """Find the inputs of given outputs and do the forward pass again, in one of the network.

        Returns:
            Two leaves, the inputs and what the network saw, whose gradients add up to that of the
            inputs; outputs; logabsdet (B,).
        """
        seen = outputs.detach().requires_grad_()
        parameters = self._parameters(seen, context)
        with torch.no_grad():
            inputs, _ = self._invert(outputs, parameters)
        again, logabsdet = self._transform(inputs.requires_grad_(), parameters)
        return (inputs, seen), again, logabsdet


class Coupling(BaseCoupling):
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
        if isinstance(self.univariate, Spline) and isinstance(self.net, MLP):
            self.net.items_last = True

    def _parameters(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        fixed, _ = inputs.split(self.sizes, dim=1)
        parameters: Tensor = self.net(fixed, context)
        return parameters.to(inputs.dtype)

    def _transform(self, inputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        fixed, changed = inputs.split(self.sizes, dim=1)
        changed, logabsdet = self.change(changed, parameters)
        return torch.cat((fixed, changed), dim=1), logabsdet

    def change(self, changed: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map the half that changes, (B, F, ...), and give logabsdet (B,)."""
        if type(self.univariate) is Affine:
            changed, logabsdet, _ = AffineCoupling.run(changed, parameters, self.univariate.bound)
            return changed, logabsdet
        changed, log_slope = self.univariate.forward(changed, parameters)
        return changed, sum_features(log_slope)

    def _invert(self, outputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        fixed, changed = outputs.split(self.sizes, dim=1)
        changed, log_slope = self.univariate.inverse(changed, parameters)
        return torch.cat((fixed, changed), dim=1), sum_features(log_slope)

    def trace(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log s and t, each (B, F, ...), log s and t 0 where features stay."""
        fixed, changed = inputs.split(self.sizes, dim=1)
        parameters = self._parameters(inputs, context)
        outputs, _ = self.univariate.forward(changed, parameters)
        log_scale, shift = self.univariate.log_scale_shift(changed, parameters)
        none = torch.zeros_like(fixed)
        return (
            torch.cat((fixed, outputs), dim=1),
            torch.cat((none, log_scale), dim=1),
            torch.cat((none, shift), dim=1),
        )


class MaskedCoupling(BaseCoupling):
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

    def _parameters(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        parameters: Tensor = self.net(inputs * self.mask, context)
        return parameters.to(inputs.dtype)

    def _transform(self, inputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        stays = self._stays()
        outputs, log_slope = self.univariate.forward(inputs, parameters)
        return inputs.where(stays, outputs), sum_features(log_slope * ~stays)

    def _invert(self, outputs: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        stays = self._stays()
        inputs, log_slope = self.univariate.inverse(outputs, parameters)
        return outputs.where(stays, inputs), sum_features(log_slope * ~stays)

    def trace(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log s and t, each (B, C, H, W), log s and t 0 where pixels stay."""
        stays = self._stays()
        parameters = self._parameters(inputs, context)
        outputs, _ = self.univariate.forward(inputs, parameters)
        log_scale, shift = self.univariate.log_scale_shift(inputs, parameters)
        return inputs.where(stays, outputs), log_scale * ~stays, shift * ~stays
