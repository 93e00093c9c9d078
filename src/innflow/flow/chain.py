"""Chain: transforms one after the other, in fewer passes over the data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.actnorm import ActNorm
from innflow.flow.gradient import ScaleReorder
from innflow.flow.linear import LULinear, multiply
from innflow.flow.permute import Permute


def _norm_permute(norm: ActNorm, permute: Permute, inputs: Tensor) -> Tensor:
    outputs: Tensor = ScaleReorder.apply(
        inputs, norm.log_scale, norm.shift, permute.order, permute.restore
    )
    return outputs


def _norm_linear(norm: ActNorm, linear: LULinear, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        weight = linear.weight()
        return multiply(weight * norm.log_scale.exp(), inputs, weight @ norm.shift)


_PAIRS: dict[type[Transform], Callable[..., Tensor]] = {
    Permute: _norm_permute,
    LULinear: _norm_linear,
}


def _fused(first: Transform, second: Transform) -> Callable[..., Tensor] | None:
    """Return what does the work of both in one pass, unless someone listens to one of them."""
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
        steps = list(self._transforms)
        outputs, index = inputs, 0
        varying: list[Tensor] = []
        constant: dict[int, list[Tensor]] = defaultdict(list)
        while index < len(steps):
            step = steps[index]
            pair = _fused(step, steps[index + 1]) if index + 1 < len(steps) else None
            if pair is None:
                outputs, logabsdet = step(outputs, context)
                varying.append(logabsdet)
                index += 1
                continue
            following = steps[index + 1]
            pixels = constant[outputs.shape[2:].numel()]
            outputs = pair(step, following, outputs)
            pixels.append(step.log_scale)
            if isinstance(following, LULinear):
                pixels.append(following.log_s)
            index += 2
        total = torch.stack(varying).sum(dim=0) if varying else inputs.new_zeros(len(inputs))
        for count, log_scales in constant.items():
            total = total + count * torch.cat(log_scales).sum()
        return outputs, total

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        outputs, logabsdets = inputs, []
        for step in reversed(self._transforms):
            outputs, logabsdet = step.inverse(outputs, context)
            logabsdets.append(logabsdet)
        return outputs, torch.stack(logabsdets).sum(dim=0)
