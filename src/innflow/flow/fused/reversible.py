"""Training without stored activations: the backward pass recomputes them from the outputs.

Since a flow can be inverted, only its inputs and outputs are stored (Gomez et al.,
arXiv:1707.04585). The network of a coupling runs once more in the backward pass: it reads features
that the coupling does not change, so that its parameters serve the inverse and the gradient.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from innflow.flow.coupling import BaseCoupling
from innflow.flow.fused import spline
from innflow.flow.fused.derivative import as_function, needs_plain_gradients, plain_gradients
from innflow.flow.fused.step import is_coupling_step, undo_step
from innflow.flow.reshape import Patchwise
from innflow.flow.spline import Spline

RandomState = tuple[Tensor, Tensor | None]
"""State of the generator of the CPU, and of that of the device of the inputs."""
Run = Callable[[Any, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def run_reversibly(
    transform: Transform, run: Run, inputs: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return `run(transform, inputs, context)` without storing activations.

    First derivatives are those of the transform to within the rounding of its inverse. Backward
    passes that are differentiated again (`create_graph=True`) run the plain layers, which store
    their activations. Dropout is replayed. As with `torch.utils.checkpoint`, forward hooks of
    coupling networks run once more in the backward pass.

    Args:
        transform: any; a `CompositeTransform` is inverted step by step.
        run: the forward pass.
        inputs: (B, ...).
        context: (B, F) or none.

    Returns:
        Outputs and logabsdet (B,).
    """
    if type(transform) is Patchwise:
        patches, contexts = transform.split(inputs), transform.repeat(context)
        outputs = run_reversibly(transform.transform, run, patches, contexts)
        return transform.join_outputs(outputs, len(inputs))
    outputs, logabsdet = _Reversible.apply(transform, run, inputs, context, *transform.parameters())
    return outputs, logabsdet


class _Reversible(torch.autograd.Function):
    """A `torch.autograd.Function` that recomputes activations in the backward pass.

    Parameters are arguments, so that their gradients are accumulated, and DDP's hooks run.
    """

    @staticmethod
    def forward(
        ctx: Any,
        transform: Transform,
        run: Run,
        inputs: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs and logabsdet."""
        kind = inputs.device.type
        ctx.autocast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
        }
        ctx.transform, ctx.states = transform, []
        if not any(map(_draws, _steps(transform))):
            outputs, total = run(transform, inputs, context)
        else:
            outputs, total = inputs, inputs.new_zeros(len(inputs))
            for step in _steps(transform):
                ctx.states.append(_random_state(inputs.device) if _draws(step) else None)
                outputs, logabsdet = run(step, outputs, context)
                total = total + logabsdet
        ctx.save_for_backward(inputs, outputs, context, *parameters)
        return outputs, total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, context and parameters."""
        inputs, outputs, context, *parameters = ctx.saved_tensors
        if needs_plain_gradients(grads):
            values = (inputs, context, *parameters)
            return None, None, *plain_gradients(_plain(ctx, inputs.device), values, grads)
        grad, grad_logabsdet = grads
        if ctx.needs_input_grad[3]:
            context = context.detach().requires_grad_()
        sums: dict[Tensor | None, Tensor] = {}
        steps = list(_steps(ctx.transform))
        while steps:
            group, state = steps[-3:], ctx.states[len(steps) - 1] if ctx.states else None
            with torch.autocast(**ctx.autocast):
                fast = is_coupling_step(group, outputs, context)
            if fast:
                outputs, grad, found = undo_step(group, outputs, context, grad, grad_logabsdet)
            else:
                group, replayed = group[-1:], _replayed(ctx.autocast, state, grad.device)
                outputs, grad, found = _undo(
                    group[0], outputs, context, grad, grad_logabsdet, replayed
                )
            del steps[-len(group) :]
            for leaf, value in found:
                if value is not None:
                    sums[leaf] = sums[leaf] + value if leaf in sums else value
        return None, None, grad, *(sums.get(leaf) for leaf in (context, *parameters))


def _undo(
    step: Transform,
    outputs: Tensor,
    context: Tensor | None,
    grad_outputs: Tensor,
    grad_logabsdet: Tensor,
    replayed: AbstractContextManager[None],
) -> tuple[Tensor, Tensor, Iterable[tuple[Tensor, Tensor | None]]]:
    """Return what `undo_step` returns, for any transform, run in a context."""
    leaves = [leaf for leaf in (context, *step.parameters()) if leaf is not None]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    with torch.enable_grad(), replayed:
        starts, *ends = _recompute(step, outputs, context)
    pairs = [
        pair
        for pair in zip(ends, (grad_outputs, grad_logabsdet), strict=True)
        if pair[0].requires_grad
    ]
    found = torch.autograd.grad(
        [end for end, _ in pairs],
        (*starts, *leaves),
        [value for _, value in pairs],
        allow_unused=True,
    )
    grad, *others = (value for value in found[: len(starts)] if value is not None)
    for other in others:
        grad = grad + other
    return starts[0].detach(), grad, zip(leaves, found[len(starts) :], strict=True)


def _recompute(
    step: Any, outputs: Tensor, context: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Compute the inputs of a step from its outputs, then outputs and logabsdet with their graph.

    Returns:
        Leaves, tensors whose gradients sum to the gradient of the inputs; the first one is the
            inputs.
        Outputs.
        Logabsdet (B,).
    """
    if not isinstance(step, BaseCoupling):
        with torch.no_grad():
            inputs = step.inverse(outputs, context)[0].detach()
        return ((inputs.requires_grad_(),), *step(inputs, context))
    univariate = step.univariate
    forward, inverse = univariate.forward, univariate.inverse
    if type(univariate) is Spline:
        forward, inverse = (partial(run, univariate) for run in (spline.forward, spline.inverse))
    conditioning = outputs.detach().requires_grad_()
    fixed, changed = step.split(conditioning)
    parameters = step.conditioner(fixed, context)
    with torch.no_grad():
        inputs = step.join(outputs, inverse(changed, parameters)[0]).detach()
    changed, log_slope = forward(step.split(inputs.requires_grad_())[1], parameters)
    return (inputs, conditioning), step.join(inputs, changed), step.logabsdet(log_slope)


def _plain(ctx: Any, device: torch.device) -> Any:
    """Return the transform as a function of inputs, context and parameters, in that order."""
    function = as_function(ctx.transform)
    state = next((state for state in ctx.states if state is not None), None)

    def run(*values: Tensor | None) -> Any:
        with _replayed(ctx.autocast, state, device):
            return function(*values)

    return run


def _steps(transform: Transform) -> Iterator[Transform]:
    if type(transform) is CompositeTransform:
        for inner in transform._transforms:
            yield from _steps(inner)
    else:
        yield transform


def _draws(step: nn.Module) -> bool:
    """Return whether a step draws random numbers: whether it has active dropout layers."""
    return any(
        isinstance(module, _DropoutNd) and module.training and module.p > 0
        for module in step.modules()
    )


def _random_state(device: torch.device) -> RandomState:
    own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
    return torch.get_rng_state(), own


@contextmanager
def _replayed(
    autocast: dict[str, Any], state: RandomState | None, device: torch.device
) -> Iterator[None]:
    """Run in the precision of the forward pass, and draw the same random numbers, if any."""
    with torch.autocast(**autocast):
        if state is None:
            yield
            return
        devices = [] if device.type == "cpu" else [device]
        kind = "cuda" if device.type == "cpu" else device.type
        with torch.random.fork_rng(devices, device_type=kind):
            torch.set_rng_state(state[0])
            if state[1] is not None:
                torch.get_device_module(device).set_rng_state(state[1], device)
            yield
