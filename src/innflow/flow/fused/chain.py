"""Chain: transforms one after the other, in fewer passes over the data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling
from innflow.flow.fused import norm_dense
from innflow.flow.fused.gradient import ScaleReorder, per_feature
from innflow.flow.linear import LULinear, multiply
from innflow.flow.network.base import has_hooks
from innflow.flow.permute import Permute

State = Tensor | tuple[Tensor, Tensor]
"""The features, whole or as the two parts of a coupling."""


class _Volumes:
    """Log-determinants of the steps: one an item, or parameters that count once a pixel."""

    def __init__(self) -> None:
        self.varying: list[Tensor] = []
        self.constant: dict[int, list[Tensor]] = defaultdict(list)

    def total(self, inputs: Tensor) -> Tensor:
        """Return their sum, (B,)."""
        if self.varying:
            total = torch.stack(self.varying).sum(dim=0)
        else:
            total = inputs.new_zeros(len(inputs))
        for pixels, log_scales in self.constant.items():
            total = total + pixels * torch.cat(log_scales).sum()
        return total


class Fused(NamedTuple):
    """How to do neighbouring steps of given kinds at once, each way.

    Both are called with the steps, the state, the context, and the volumes to add to.
    """

    kinds: tuple[type[Transform], ...]
    forward: Callable[..., State]
    inverse: Callable[..., State]


def _whole(state: State) -> Tensor:
    return state if isinstance(state, Tensor) else torch.cat(state, dim=1)


def _norm_permute_couple(
    steps: Sequence[Any], state: State, context: Tensor | None, volumes: _Volumes
) -> State:
    """Leave the features in two parts: between couplings they need no joining."""
    norm, permute, coupling = steps
    first, second = state.split(coupling.sizes, dim=1) if isinstance(state, Tensor) else state
    orders = (None, None) if permute.exchanges else (permute.order, permute.restore)
    normed = (first, second, norm.log_scale, norm.shift, *orders)
    if norm_dense.fits(coupling, first, context):
        bound, weights = coupling.univariate.bound, norm_dense.weights(coupling.net)
        first, second, logabsdet = norm_dense.NormDenseAffine.apply(*normed, bound, *weights)
    else:
        first, second = ScaleReorder.run(*normed)
        second, logabsdet = coupling.change(second, coupling.net(first, context).to(second.dtype))
    volumes.varying.append(logabsdet)
    volumes.constant[first.shape[2:].numel()].append(norm.log_scale)
    return first, second


def _undo_norm_permute_couple(
    steps: Sequence[Any], state: State, context: Tensor | None, volumes: _Volumes
) -> State:
    norm, permute, coupling = steps
    outputs, logabsdet = coupling.inverse(_whole(state), context)
    volumes.varying.append(logabsdet)
    volumes.constant[-outputs.shape[2:].numel()].append(norm.log_scale)
    scale = torch.exp(-norm.log_scale)
    restored, _ = permute.inverse(outputs)
    shift = per_feature(-scale * norm.shift, restored)
    return torch.addcmul(shift, restored, per_feature(scale, restored))


def _norm_linear(
    steps: Sequence[Any], state: State, context: Tensor | None, volumes: _Volumes
) -> State:
    norm, linear = steps
    inputs = _whole(state)
    volumes.constant[inputs.shape[2:].numel()] += [norm.log_scale, linear.log_s]
    with torch.autocast(inputs.device.type, enabled=False):
        weight = linear.weight()
        return multiply(weight * norm.log_scale.exp(), inputs, weight @ norm.shift)


def _undo_norm_linear(
    steps: Sequence[Any], state: State, context: Tensor | None, volumes: _Volumes
) -> State:
    norm, linear = steps
    outputs = _whole(state)
    volumes.constant[-outputs.shape[2:].numel()] += [norm.log_scale, linear.log_s]
    with torch.autocast(outputs.device.type, enabled=False):
        scale = torch.exp(-norm.log_scale)
        weight = scale[:, None] * linear.inverse_weight()
        return multiply(weight, outputs, -scale * norm.shift)


_FUSED = (
    Fused((ActNorm, Permute, Coupling), _norm_permute_couple, _undo_norm_permute_couple),
    Fused((ActNorm, LULinear), _norm_linear, _undo_norm_linear),
)


class Chain(CompositeTransform):
    """nflows' CompositeTransform in fewer passes over the data.

    What is linear in a feature is done once: an ActNorm goes into the 1x1 convolution or the
    permutation behind it, and the halves that a permutation makes go straight into the coupling
    and on to the next. Log-determinants that do not depend on the data are added up as parameters,
    once for the batch. Layers, their parameters and their hooks stay those of the transforms.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, ...) to outputs and logabsdet (B,)."""
        state: State = inputs
        volumes = _Volumes()
        for fused, steps in self._segments():
            if fused is None:
                state, logabsdet = steps[0](_whole(state), context)
                volumes.varying.append(logabsdet)
            else:
                state = fused.forward(steps, state, context, volumes)
        return _whole(state), volumes.total(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        state: State = inputs
        volumes = _Volumes()
        for fused, steps in reversed(self._segments()):
            if fused is None:
                state, logabsdet = steps[0].inverse(_whole(state), context)
                volumes.varying.append(logabsdet)
            else:
                state = fused.inverse(steps, state, context, volumes)
        return _whole(state), volumes.total(inputs)

    def _segments(self) -> list[tuple[Fused | None, Sequence[Any]]]:
        """Return the steps in order, those that can be done at once together."""
        steps: list[Any] = list(self._transforms)
        kinds = tuple(None if has_hooks(step) else type(step) for step in steps)
        found: list[tuple[Fused | None, Sequence[Any]]] = []
        start = 0
        while start < len(steps):
            chosen = None
            for fused in _FUSED:
                if kinds[start : start + len(fused.kinds)] == fused.kinds:
                    chosen = fused
                    break
            end = start + (1 if chosen is None else len(chosen.kinds))
            found.append((chosen, steps[start:end]))
            start = end
        return found
