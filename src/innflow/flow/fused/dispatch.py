"""Choice between layers and their fast implementations."""

from typing import Any

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.fused import spline
from innflow.flow.fused.reversible import run_reversibly
from innflow.flow.fused.step import coupling_step, is_coupling_step, is_exactly
from innflow.flow.given import GivenFirst
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
    inputs = channels_last(inputs)
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
    return _run(transform, channels_last(inputs), context, inverse=True)


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


def channels_last(inputs: Tensor) -> Tensor:
    """Return images with their channels last in memory, the fastest layout for convolutions."""
    if inputs.dim() != 4:
        return inputs
    return inputs.contiguous(memory_format=torch.channels_last)


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
        group: Any = steps[start : start + 3]
        if not inverse and is_coupling_step(group, outputs, context):
            outputs, logabsdet = coupling_step(group, outputs, context)
            start += 3
        else:
            outputs, logabsdet = _run(steps[start], outputs, context, inverse)
            start += 1
        total = total + logabsdet
    return outputs, total


def _is_spline_coupling(transform: Any) -> bool:
    return is_exactly(transform, Coupling, MaskedCoupling) and type(transform.univariate) is Spline
