"""ActNorm, permutation and coupling by an MLP, as one node of the autograd graph.

For few features, autograd overhead dominates: the separate layers create about 30 nodes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from nflows.transforms.base import CompositeTransform
from torch import Tensor, nn

from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling
from innflow.flow.fused import affine, spline
from innflow.flow.fused.derivative import as_function, needs_plain_gradients, plain_gradients
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute
from innflow.flow.spline import Spline
from innflow.flow.univariate import Affine

UNIVARIATES: dict[type, Any] = {Affine: affine, Spline: spline}
"""Univariate -> module with its `linear`, `apply`, `undo` and `gradients`."""
Layers = Sequence[Any]
"""An `ActNorm`, a `Permute` and a `Coupling`, see `is_coupling_step`."""


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


def is_coupling_step(layers: Layers, inputs: Tensor, context: Tensor | None) -> bool:
    """Return whether `coupling_step` computes these layers.

    They are an `ActNorm`, a `Permute` and an affine or spline `Coupling` whose network is an `MLP`
    of linear layers and SiLU, on vectors, without autocast and in a single precision.
    """
    if not (
        len(layers) == 3
        and inputs.dim() == 2
        and is_exactly(layers[0], ActNorm)
        and is_exactly(layers[1], Permute)
        and is_exactly(layers[2], Coupling)
    ):
        return False
    net = layers[2].net
    if not (
        type(layers[2].univariate) in UNIVARIATES
        and is_exactly(net, MLP)
        and is_exactly(net.layers, nn.Sequential)
    ):
        return False
    inner = list(net.layers._modules.values())
    features = 0 if context is None else context.shape[-1]
    return (
        all(is_exactly(layer, nn.Linear) for layer in inner[::2])
        and all(is_exactly(layer, nn.SiLU) for layer in inner[1::2])
        and len(inner) % 2 == 1
        and features == net.context
        and inputs.dtype == layers[0].log_scale.dtype == inner[0].weight.dtype
        and (context is None or context.dtype == inputs.dtype)
        and not torch.is_autocast_enabled(inputs.device.type)
    )


def coupling_step(layers: Layers, inputs: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Map inputs (B, F) and context (B, C) to outputs (B, F) and logabsdet (B,)."""
    outputs, logabsdet = _Step.apply(layers, inputs, context, *_weights(layers))
    return outputs, logabsdet


def _weights(layers: Layers) -> list[Tensor]:
    """Return log-scale and shift of the ActNorm, then weight and bias of each linear layer."""
    norm, _, coupling = layers
    weights: list[Tensor] = [norm.log_scale, norm.shift]
    for layer in list(coupling.net.layers._modules.values())[::2]:
        weights += (layer.weight, layer.bias)
    return weights


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layers: Layers, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (B, F) and logabsdet (B,)."""
        _, permute, coupling = layers
        log_scale, shift, *others = weights
        scale = log_scale.exp()
        mixed = torch.addcmul(shift, x, scale).index_select(1, permute.order)
        fixed, changed = mixed.split_with_sizes(coupling.sizes, dim=1)
        hidden = _hidden(fixed, context, others)
        rule = UNIVARIATES[type(coupling.univariate)]
        parameters = rule.linear(coupling.univariate, hidden[-1], *others[-2:])
        y, log_slope, kept = rule.apply(coupling.univariate, changed, parameters)
        ctx.save_for_backward(x, context, *weights, scale, *hidden, *kept)
        ctx.layers, ctx.count = layers, len(weights)
        return torch.cat((fixed, y), dim=1), log_slope.sum(dim=1).add_(log_scale.sum())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, context and weights."""
        saved, count = ctx.saved_tensors, ctx.count + 2
        if needs_plain_gradients(grads):
            return None, *plain_gradients(_plain(ctx.layers), saved[:count], grads)
        x, context, *weights = saved[:count]
        return None, *_gradients(ctx.layers, x, context, weights, saved[count:], *grads)


def undo_step(
    layers: Layers,
    outputs: Tensor,
    context: Tensor | None,
    grad_outputs: Tensor,
    grad_logabsdet: Tensor,
) -> tuple[Tensor, Tensor, Iterable[tuple[Tensor | None, Tensor | None]]]:
    """Compute inputs and gradients of a step from its outputs and their gradients.

    Returns:
        Inputs (B, F).
        Their gradient.
        Context and weights, each with its gradient.
    """
    _, permute, coupling = layers
    log_scale, shift, *others = weights = _weights(layers)
    scale = log_scale.exp()
    fixed, y = outputs.split_with_sizes(coupling.sizes, dim=1)
    hidden = _hidden(fixed, context, others)
    rule = UNIVARIATES[type(coupling.univariate)]
    parameters = rule.linear(coupling.univariate, hidden[-1], *others[-2:])
    changed, kept = rule.undo(coupling.univariate, y, parameters)
    mixed = torch.cat((fixed, changed), dim=1)
    inputs = (mixed.index_select(1, permute.restore) - shift) / scale
    values = (scale, *hidden, *kept)
    grad, *found = _gradients(
        layers, inputs, context, weights, values, grad_outputs, grad_logabsdet
    )
    return inputs, grad, zip((context, *weights), found, strict=True)


def _gradients(
    layers: Layers,
    x: Tensor,
    context: Tensor | None,
    weights: Sequence[Tensor],
    values: Sequence[Tensor],
    grad_outputs: Tensor,
    grad_logabsdet: Tensor,
) -> tuple[Any, ...]:
    """Return the gradients of x, context and weights.

    `values` are the scale of the ActNorm, the values of the network, and those of the univariate.
    """
    _, permute, coupling = layers
    scale, hidden, kept = values[0], values[1 : len(weights) - 2], values[len(weights) - 2 :]
    grad_fixed, grad_y = grad_outputs.split_with_sizes(coupling.sizes, dim=1)
    grad_log_slope = grad_logabsdet[:, None].expand_as(grad_y)
    rule = UNIVARIATES[type(coupling.univariate)]
    grad_changed, grad_parameters = rule.gradients(
        coupling.univariate, kept, grad_y, grad_log_slope
    )
    grad_net, grad_weights = _mlp_gradients(grad_parameters, weights[2:], list(hidden))
    grad_context = None
    if context is not None:
        grad_net, grad_context = grad_net.split((coupling.sizes[0], context.shape[1]), dim=1)
    grad_mixed = torch.cat((grad_fixed + grad_net, grad_changed), dim=1)
    grad_norm = grad_mixed.index_select(1, permute.restore)
    grad_x = grad_norm * scale
    grad_log_scale = (grad_x * x).sum(dim=0) + grad_logabsdet.sum()
    return grad_x, grad_context, grad_log_scale, grad_norm.sum(dim=0), *grad_weights


def _plain(layers: Layers) -> Any:
    """Return the layers as a function of inputs, context and parameters, in that order."""
    function = as_function(CompositeTransform(list(layers)))

    def run(x: Tensor, *others: Tensor | None) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *others)

    return run


def _hidden(x: Tensor, context: Tensor | None, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the input of an MLP with SiLU, then the values before and after each SiLU."""
    values = [x if context is None else torch.cat((x, context), dim=1)]
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        values.append(F.linear(values[-1], weight, bias))
        values.append(F.silu(values[-1]))
    return values


def _mlp_gradients(
    grad: Tensor, weights: Sequence[Tensor], kept: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of the input of the MLP and of its weights."""
    found: list[Tensor] = []
    for index in range(len(weights) - 2, -1, -2):
        found += [grad.sum(dim=0), grad.t().mm(kept.pop())]
        grad = grad.mm(weights[index])
        if kept:
            grad = torch.ops.aten.silu_backward(grad, kept.pop())
    return grad, found[::-1]
