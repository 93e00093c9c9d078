"""Chain: transforms one after the other, in fewer passes over the data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.actnorm import ActNorm
from innflow.flow.gradient import ScaleReorder, per_feature
from innflow.flow.linear import LULinear, multiply
from innflow.flow.permute import Permute


class Pair(NamedTuple):
    """What does the work of an ActNorm and of the layer behind it in one pass, each way."""

    forward: Callable[..., Tensor]
    inverse: Callable[..., Tensor]


def _norm_permute(norm: ActNorm, permute: Permute, inputs: Tensor) -> Tensor:
    outputs: Tensor = ScaleReorder.apply(
        inputs, norm.log_scale, norm.shift, permute.order, permute.restore
    )
    return outputs


def _undo_norm_permute(norm: ActNorm, permute: Permute, outputs: Tensor) -> Tensor:
    scale = torch.exp(-norm.log_scale)
    restored, _ = permute.inverse(outputs)
    shift = per_feature(-scale * norm.shift, restored)
    return torch.addcmul(shift, restored, per_feature(scale, restored))


def _norm_linear(norm: ActNorm, linear: LULinear, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        weight = linear.weight()
        return multiply(weight * norm.log_scale.exp(), inputs, weight @ norm.shift)


def _undo_norm_linear(norm: ActNorm, linear: LULinear, outputs: Tensor) -> Tensor:
    with torch.autocast(outputs.device.type, enabled=False):
        scale = torch.exp(-norm.log_scale)
        weight = scale[:, None] * linear.inverse_weight()
        return multiply(weight, outputs, -scale * norm.shift)


_PAIRS: dict[type[Transform], Pair] = {
    Permute: Pair(_norm_permute, _undo_norm_permute),
    LULinear: Pair(_norm_linear, _undo_norm_linear),
}


def _pair(first: Transform, second: Transform) -> Pair | None:
    """Return how to do both in one pass, unless someone listens to one of them."""
    if type(first) is not ActNorm or type(second) not in _PAIRS:
        return None
    heard = (
        first._forward_pre_hooks,
        first._forward_hooks,
        second._forward_pre_hooks,
        second._forward_hooks,
    )
    return None if any(heard) else _PAIRS[type(second)]


class Chain(CompositeTransform):
    """nflows' CompositeTransform with what is linear in a feature done in one pass.

    An ActNorm goes into the permutation or the 1x1 convolution behind it, and log-determinants
    that do not depend on the data are added up as parameters, once for the batch. Layers, their
    parameters and their hooks stay those of the transforms.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, ...) to outputs and logabsdet (B,)."""
        outputs, volumes = inputs, _Volumes()
        for pair, *steps in self._segments():
            if pair is None:
                outputs, logabsdet = steps[0](outputs, context)
                volumes.varying.append(logabsdet)
            else:
                volumes.add(steps, outputs.shape[2:].numel())
                outputs = pair.forward(*steps, outputs)
        return outputs, volumes.total(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        outputs, volumes = inputs, _Volumes()
        for pair, *steps in reversed(self._segments()):
            if pair is None:
                outputs, logabsdet = steps[0].inverse(outputs, context)
                volumes.varying.append(logabsdet)
            else:
                volumes.add(steps, -outputs.shape[2:].numel())
                outputs = pair.inverse(*steps, outputs)
        return outputs, volumes.total(inputs)

    def _segments(self) -> list[tuple[Any, ...]]:
        """Return (pair, its two steps), or (None, step) for a step by itself, in order."""
        steps = list(self._transforms)
        found: list[tuple[Any, ...]] = []
        while steps:
            pair = _pair(steps[0], steps[1]) if len(steps) > 1 else None
            taken = 1 if pair is None else 2
            found.append((pair, *steps[:taken]))
            steps = steps[taken:]
        return found


class _Volumes:
    """Log-determinants of the steps: one an item, or parameters that count once a pixel."""

    def __init__(self) -> None:
        self.varying: list[Tensor] = []
        self.constant: dict[int, list[Tensor]] = defaultdict(list)

    def add(self, steps: Sequence[Any], pixels: int) -> None:
        """Note a pair of steps on so many pixels, negative on the way back."""
        norm, following = steps
        self.constant[pixels].append(norm.log_scale)
        if isinstance(following, LULinear):
            self.constant[pixels].append(following.log_s)

    def total(self, inputs: Tensor) -> Tensor:
        """Return their sum, (B,)."""
        total = inputs.new_zeros(len(inputs))
        if self.varying:
            total = torch.stack(self.varying).sum(dim=0)
        for pixels, log_scales in self.constant.items():
            total = total + pixels * torch.cat(log_scales).sum()
        return total
