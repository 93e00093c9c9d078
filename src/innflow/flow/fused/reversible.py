"""Training without stored activations: the backward pass computes them from the outputs.

A flow can be inverted, so nothing but its outputs needs keeping (Gomez et al., arXiv:1707.04585).
Going back through a coupling costs one more pass of its network, because the half that the network
reads has not changed: its parameters serve the inverse and the gradient alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from innflow.flow import linear
from innflow.flow.coupling import BaseCoupling, Coupling
from innflow.flow.fused import norm_dense
from innflow.flow.fused.gradient import AffineCoupling
from innflow.flow.reshape import Patchwise
from innflow.flow.univariate import Affine

RandomState = tuple[Tensor, Tensor | None]
"""State of the generator of the CPU and of that of the device that computes."""
Back = tuple[Tensor, Tensor, list[tuple[Tensor, Tensor | None]]]
"""Inputs, their gradient, and leaves with theirs."""


def reversible(
    transform: Transform, inputs: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply a transform and keep nothing but its outputs for the backward pass.

    Values are those of `transform(inputs, context)`, and gradients to within the rounding of its
    inverse. Dropout is replayed.

    Args:
        transform: any; a `CompositeTransform` is taken back step by step.
        inputs: (B, ...).
        context: (B, F) or none.

    Returns:
        Outputs and logabsdet (B,).
    """
    if isinstance(transform, Patchwise):
        patches, contexts = transform.split(inputs), transform.repeat(context)
        return transform.whole(reversible(transform.transform, patches, contexts), len(inputs))
    parameters = [parameter for parameter in transform.parameters() if parameter.requires_grad]
    outputs, logabsdet = _Reversible.apply(transform, inputs, context, *parameters)
    return outputs, logabsdet


class _Reversible(torch.autograd.Function):
    """Parameters are arguments, so that gradients reach them as always, hooks of DDP included."""

    @staticmethod
    def forward(
        ctx: Any, transform: Transform, inputs: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return outputs and logabsdet."""
        kind = inputs.device.type
        ctx.autocast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
        }
        ctx.steps = list(_steps(transform))
        ctx.states = [None] * len(ctx.steps)
        outputs, total = inputs, inputs.new_zeros(len(inputs))
        if not any(map(_draws, ctx.steps)):
            outputs, total = transform(inputs, context)
        else:
            for index, step in enumerate(ctx.steps):
                ctx.states[index] = _random_state(inputs.device) if _draws(step) else None
                outputs, logabsdet = step(outputs, context)
                total = total + logabsdet
        ctx.save_for_backward(outputs, context, *parameters)
        return outputs, total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, context and parameters."""
        outputs, context, *parameters = ctx.saved_tensors
        places = {id(parameter): place for place, parameter in enumerate(parameters)}
        sums: list[Tensor | None] = [None] * (len(parameters) + 1)
        grad, grad_logabsdet = grads
        if ctx.needs_input_grad[2]:
            context = context.detach().requires_grad_()
            places[id(context)] = len(parameters)
        end = len(ctx.steps)
        while end:
            way = _closed(ctx.steps[:end], outputs, context, ctx.autocast["enabled"])
            if way is None:
                step = ctx.steps[end - 1]
                leaves = [leaf for leaf in (*step.parameters(), context) if id(leaf) in places]
                asking = _asking(ctx.autocast, ctx.states[end - 1], outputs.device)
                take_back = _affine_back if _is_affine(step) else _retraced_back
                way = 1, partial(take_back, asking, context, leaves)
            length, take_back = way
            steps = ctx.steps[end - length : end]
            outputs, grad, found = take_back(steps, outputs, grad, grad_logabsdet)
            for leaf, value in found:
                if value is not None and id(leaf) in places:
                    before = sums[places[id(leaf)]]
                    sums[places[id(leaf)]] = value if before is None else before + value
            end -= length
        *of_parameters, of_context = sums
        return None, grad, of_context, *of_parameters


def _steps(transform: Transform) -> Iterator[Transform]:
    if isinstance(transform, CompositeTransform):
        for inner in transform._transforms:
            yield from _steps(inner)
    else:
        yield transform


def _closed(
    steps: list[Transform], outputs: Tensor, context: Tensor | None, autocast: bool
) -> tuple[int, Callable[..., Any]] | None:
    """Return how many of the last steps go back in closed form, and by what, if any."""
    if linear.goes_back(steps[-2:]):
        return 2, linear.take_back
    if not autocast and norm_dense.goes_back(steps[-3:], outputs, context):
        return 3, norm_dense.take_back
    return None


@contextmanager
def _asking(
    autocast: dict[str, Any], state: RandomState | None, device: torch.device
) -> Iterator[None]:
    """Ask a network as it was asked before."""
    replay = nullcontext() if state is None else _replayed(state, device)
    with torch.enable_grad(), torch.autocast(**autocast), replay:
        yield


def _is_affine(step: Transform) -> bool:
    return type(step) is Coupling and type(step.univariate) is Affine


def _affine_back(
    asking: AbstractContextManager[None],
    context: Tensor | None,
    leaves: Sequence[Tensor],
    steps: Sequence[Any],
    outputs: Tensor,
    of_outputs: Tensor,
    of_logabsdet: Tensor,
) -> Back:
    """Go back through one affine coupling: autograd is asked about the network alone."""
    (coupling,) = steps
    bound = coupling.univariate.bound
    seen, changed = outputs.split(coupling.sizes, dim=1)
    of_seen, of_changed = of_outputs.split(coupling.sizes, dim=1)
    seen = seen.detach().requires_grad_()
    with asking:
        parameters = coupling.net(seen, context).to(outputs.dtype)
    before, log_s = AffineCoupling.undo(changed, parameters.detach(), bound)
    of_before, of_parameters = AffineCoupling.gradients(
        before, log_s, bound, of_changed, of_logabsdet
    )
    through, *values = torch.autograd.grad(
        parameters, (seen, *leaves), of_parameters, materialize_grads=True
    )
    found: list[tuple[Tensor, Tensor | None]] = list(zip(leaves, values, strict=True))
    inputs = torch.cat((seen.detach(), before), dim=1)
    of_inputs = torch.cat((of_seen + through, cast(Tensor, of_before)), dim=1)
    return inputs, of_inputs, found


def _retraced_back(
    asking: AbstractContextManager[None],
    context: Tensor | None,
    leaves: Sequence[Tensor],
    steps: Sequence[Any],
    outputs: Tensor,
    of_outputs: Tensor,
    of_logabsdet: Tensor,
) -> Back:
    """Go back through one step of any kind: its forward pass is done again."""
    (step,) = steps
    with asking:
        starts, *ends = _retrace(step, outputs, context)
    pairs = zip(ends, (of_outputs, of_logabsdet), strict=True)
    moved, of_moved = zip(*((end, of) for end, of in pairs if end.requires_grad), strict=True)
    values = torch.autograd.grad(moved, (*starts, *leaves), of_moved, allow_unused=True)
    of_inputs, *others = (value for value in values[: len(starts)] if value is not None)
    for other in others:
        of_inputs = of_inputs + other
    found: list[tuple[Tensor, Tensor | None]] = list(
        zip(leaves, values[len(starts) :], strict=True)
    )
    return starts[0].detach(), of_inputs, found


def _retrace(
    step: Transform, outputs: Tensor, context: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Return leaves whose gradients add up to that of the inputs, and what comes of them.

    The first leaf is the inputs themselves.
    """
    if isinstance(step, BaseCoupling):
        return step.retrace(outputs, context)
    with torch.no_grad():
        inputs = step.inverse(outputs, context)[0].detach()
    again, logabsdet = step(inputs.requires_grad_(), context)
    return (inputs,), again, logabsdet


def _draws(step: nn.Module) -> bool:
    return any(
        isinstance(module, _DropoutNd) and module.training and module.p > 0
        for module in step.modules()
    )


def _random_state(device: torch.device) -> RandomState:
    own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
    return torch.get_rng_state(), own


@contextmanager
def _replayed(state: RandomState, device: torch.device) -> Iterator[None]:
    """Draw what was drawn before, and leave the generators as they are."""
    devices = [] if device.type == "cpu" else [device]
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices, device_type=kind):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.get_device_module(device).set_rng_state(state[1], device)
        yield
