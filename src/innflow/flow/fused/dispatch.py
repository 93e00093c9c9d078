"""Choice between layers and their fast implementations."""

from collections.abc import Sequence
from typing import Any

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.fused import spline
from innflow.flow.fused.reversible import run_reversibly
from innflow.flow.fused.step import UNIVARIATES, coupling_step
from innflow.flow.given import GivenFirst
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute
from innflow.flow.reshape import Patchwise
from innflow.flow.spline import Spline


def forward(
    transform: Transform, inputs: Tensor, context: Tensor | None = None, reversible: bool = False
) -> tuple[Tensor, Tensor]:
    """Return `transform(inputs, context)`, by fast implementations where they exist.

    Values, derivatives of any order and calls of hooks are those of the plain layers.

    Args:
        transform: any; fast implementations exist for parts of a `CompositeTransform`.
        inputs: (B, ...).
        context: (B, F) or none.
        reversible: whether to recompute activations in the backward pass instead of storing them.

    Returns:
        Outputs and logabsdet (B,).
    """
    if _must_be_plain():
        return transform(inputs, context)
    inputs = _channels_last(inputs)
    if reversible and torch.is_grad_enabled():
        return run_reversibly(transform, _run, inputs, context)
    return _run(transform, inputs, context)


def inverse(
    transform: Transform, inputs: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return `transform.inverse(inputs, context)`, by fast implementations where they exist.

    Args:
        transform: any.
        inputs: (B, ...).
        context: (B, F) or none.

    Returns:
        Outputs and logabsdet (B,).
    """
    if _must_be_plain():
        return transform.inverse(inputs, context)
    return _run(transform, _channels_last(inputs), context, inverse=True)


def _must_be_plain() -> bool:
    """Return whether the caller transforms the layers or records every call of a module.

    Compilers, `torch.func`, forward-mode differentiation and tracing transform the operations of
    the layers; hooks that are registered globally expect a call of every module.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.jit.is_tracing()
        or _has_any_global_hook()
    )


def _channels_last(inputs: Tensor) -> Tensor:
    """Return images with their channels last in memory, the fastest layout for convolutions."""
    if inputs.dim() != 4:
        return inputs
    return inputs.contiguous(memory_format=torch.channels_last)


def is_exactly(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether calling a module only runs the `forward` of one of these classes.

    It does not if the class is a subclass (a parametrized layer, for one), or if the module has
    hooks or a `forward` of its own.
    """
    return type(module) in kinds and not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def _run(
    transform: Transform, inputs: Tensor, context: Tensor | None, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Return outputs and logabsdet (B,) of a transform or of its inverse."""
    if is_exactly(transform, Patchwise):
        patches, contexts = transform.split(inputs), transform.repeat(context)
        outputs = _run(transform.transform, patches, contexts, inverse)
        return transform.join_outputs(outputs, len(inputs))
    if is_exactly(transform, GivenFirst):
        first, others = transform.split(inputs)
        changed, logabsdet = _run(transform.transform, others, first, inverse)
        return torch.cat((first, changed), dim=1), logabsdet
    if is_exactly(transform, CompositeTransform):
        return _run_composite(transform, inputs, context, inverse)
    if _is_spline_coupling(transform):
        fixed, changed = transform.split(inputs)
        parameters = transform.conditioner(fixed, context)
        function = spline.inverse if inverse else spline.forward
        changed, log_slope = function(transform.univariate, changed, parameters)
        return transform.join(inputs, changed), transform.logabsdet(log_slope)
    return transform.inverse(inputs, context) if inverse else transform(inputs, context)


def _run_composite(
    transform: Transform, inputs: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, Tensor]:
    steps = list(transform._transforms)[:: -1 if inverse else 1]
    outputs, total = inputs, inputs.new_zeros(len(inputs))
    start = 0
    while start < len(steps):
        group: list[Any] = steps[start : start + 3]
        if not inverse and _is_coupling_step(group, outputs, context):
            norm, permute, coupling = group
            outputs, logabsdet = coupling_step(norm, permute, coupling, outputs, context)
            start += 3
        else:
            outputs, logabsdet = _run(steps[start], outputs, context, inverse)
            start += 1
        total = total + logabsdet
    return outputs, total


def _is_spline_coupling(transform: Any) -> bool:
    return is_exactly(transform, Coupling, MaskedCoupling) and type(transform.univariate) is Spline


def _is_coupling_step(steps: Sequence[Any], inputs: Tensor, context: Tensor | None) -> bool:
    """Return whether `coupling_step` computes these steps.

    They are an `ActNorm`, a `Permute` and a `Coupling` whose network is an `MLP` of linear layers
    and SiLU, on vectors, without autocast and in a single precision.
    """
    if not (
        len(steps) == 3
        and inputs.dim() == 2
        and is_exactly(steps[0], ActNorm)
        and is_exactly(steps[1], Permute)
        and is_exactly(steps[2], Coupling)
    ):
        return False
    net, univariate = steps[2].net, steps[2].univariate
    if not (
        type(univariate) in UNIVARIATES
        and is_exactly(net, MLP)
        and is_exactly(net.layers, nn.Sequential)
    ):
        return False
    layers = list(net.layers._modules.values())
    features = 0 if context is None else context.shape[-1]
    return (
        all(is_exactly(layer, nn.Linear) for layer in layers[::2])
        and all(is_exactly(layer, nn.SiLU) for layer in layers[1::2])
        and len(layers) % 2 == 1
        and features == net.context
        and inputs.dtype == steps[0].log_scale.dtype == layers[0].weight.dtype
        and (context is None or context.dtype == inputs.dtype)
        and not torch.is_autocast_enabled(inputs.device.type)
    )
