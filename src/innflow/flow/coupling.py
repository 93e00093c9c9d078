"""Coupling layers: a part of the features is transformed, given the rest."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.univariate import Affine, Univariate

Subnet = Callable[..., nn.Module]
"""Maker of coupling networks: `subnet(inputs, outputs, context=0)` returns a module that is called
as `net(x, context)`. Builders of flows also give it `hidden`, and `size`, if it takes them."""


def sum_features(values: Tensor) -> Tensor:
    """Sum (B, ...) over all axes but the batch, to (B,)."""
    return values.sum(dim=list(range(1, values.dim())))


class BaseCoupling(Transform):
    """Transform some features by a univariate bijection whose parameters a network computes.

    The network reads only features that stay as they are, so that the Jacobian is triangular: its
    log-determinant is the sum of the log-slopes of the changed features, and the inverse costs as
    much as the forward pass (Dinh et al., arXiv:1605.08803).
    """

    net: nn.Module
    univariate: Univariate

    @abstractmethod
    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features that the network reads and those that are changed."""

    @abstractmethod
    def join(self, inputs: Tensor, changed: Tensor) -> Tensor:
        """Return inputs with the changed features replaced: undo `split`."""

    @abstractmethod
    def logabsdet(self, log_slope: Tensor) -> Tensor:
        """Sum log-slopes, of the shape of the changed features, to (B,)."""

    def conditioner(self, fixed: Tensor, context: Tensor | None) -> Tensor:
        """Return the parameters of the univariate, in the precision of the features."""
        parameters: Tensor = self.net(fixed, context)
        return parameters.to(fixed.dtype)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to outputs and logabsdet (B,)."""
        fixed, changed = self.split(inputs)
        changed, log_slope = self.univariate.forward(changed, self.conditioner(fixed, context))
        return self.join(inputs, changed), self.logabsdet(log_slope)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs of `forward` to its inputs and the logabsdet (B,) of this direction."""
        fixed, changed = self.split(inputs)
        changed, log_slope = self.univariate.inverse(changed, self.conditioner(fixed, context))
        return self.join(inputs, changed), self.logabsdet(log_slope)

    def trace(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log-scale and shift, each (B, F, ...).

        Log-scale and shift are 0 at the features that stay as they are.
        """
        fixed, changed = self.split(inputs)
        parameters = self.conditioner(fixed, context)
        outputs, _ = self.univariate.forward(changed, parameters)
        log_scale, shift = self.univariate.log_scale_shift(changed, parameters)
        zeros = torch.zeros_like(inputs)
        return self.join(inputs, outputs), self.join(zeros, log_scale), self.join(zeros, shift)


class Coupling(BaseCoupling):
    """Transform the second half of dim 1, or its last features, given the others.

    Permutations or linear layers between couplings decide which features stand in which half.

    Args:
        features: size of dim 1. Of an odd number the first half has one more; a single feature is
            transformed given the context alone.
        subnet: makes the coupling network, see `Subnet`.
        univariate: bijection of each changed feature, `Affine()` by default.
        context: number of context features, 0 for none.
        changed: number of last features that are transformed, half of them by default.

    Raises:
        InnflowError: if there is a single feature and no context, or `changed` is out of range.

    Example:
        >>> from innflow.flow import MLP
        >>> coupling = Coupling(4, MLP)
        >>> outputs, logabsdet = coupling(torch.randn(3, 4))
        >>> outputs.shape, logabsdet.shape
        (torch.Size([3, 4]), torch.Size([3]))
    """

    def __init__(
        self,
        features: int,
        subnet: Subnet,
        univariate: Univariate | None = None,
        context: int = 0,
        changed: int | None = None,
    ) -> None:
        super().__init__()
        if features < 1 or (features == 1 and not context):
            raise InnflowError(
                f"coupling: features={features}, a coupling without context needs at least 2"
            )
        self.univariate = univariate or Affine()
        changed = max(features // 2, 1) if changed is None else changed
        if not 0 < changed < features + (features == 1):
            raise InnflowError(f"coupling: changed={changed} of {features} features: must be fewer")
        self.sizes = (features - changed, changed)
        self.net = subnet(self.sizes[0], changed * self.univariate.parameters, context=context)

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two halves of dim 1."""
        first, second = inputs.split(self.sizes, dim=1)
        return first, second

    def join(self, inputs: Tensor, changed: Tensor) -> Tensor:
        """Return the first half of the inputs followed by the changed half."""
        return torch.cat((inputs[:, : self.sizes[0]], changed), dim=1)

    def logabsdet(self, log_slope: Tensor) -> Tensor:
        """Sum the log-slopes of the changed half to (B,)."""
        return sum_features(log_slope)


class MaskedCoupling(BaseCoupling):
    """Transform some pixels of an image, given others (Dinh et al., arXiv:1605.08803).

    The network reads the image with all but the conditioning pixels set to 0. It returns parameters
    for every pixel, of which only those of changed pixels are used.

    Args:
        channels: channels C of the image.
        mask: boolean, broadcast over (C, H, W), true at the conditioning pixels.
        subnet: makes the coupling network, see `Subnet`.
        univariate: bijection of each changed pixel, `Affine()` by default.
        context: number of context features, 0 for none.
        changes: boolean as `mask`, true at the changed pixels; by default all that are not
            conditioning. Pixels of neither mask stay as they are and are not read.

    Raises:
        InnflowError: if a pixel is in both masks.

    Example:
        >>> from innflow.flow import ConvNet
        >>> left = torch.tensor([True, True, False, False])
        >>> coupling = MaskedCoupling(1, left, ConvNet)
        >>> outputs, logabsdet = coupling(torch.randn(3, 1, 4, 4))
        >>> outputs.shape, logabsdet.shape
        (torch.Size([3, 1, 4, 4]), torch.Size([3]))
    """

    mask: Tensor
    changes: Tensor

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
        mask = mask.bool()
        changes = ~mask if changes is None else changes.bool()
        if (mask & changes).any():
            raise InnflowError(
                "masked coupling: a pixel both conditions and changes, which cannot be inverted: "
                "give masks that do not overlap"
            )
        self.univariate = univariate or Affine()
        self.register_buffer("mask", mask)
        self.register_buffer("changes", changes)
        self.net = subnet(channels, channels * self.univariate.parameters, context=context)

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image with all but the conditioning pixels set to 0, and the whole image."""
        return inputs * self.mask, inputs

    def join(self, inputs: Tensor, changed: Tensor) -> Tensor:
        """Return inputs with the changed pixels replaced."""
        return changed.where(self.changes, inputs)

    def logabsdet(self, log_slope: Tensor) -> Tensor:
        """Sum the log-slopes of the changed pixels to (B,)."""
        return sum_features(log_slope * self.changes)
