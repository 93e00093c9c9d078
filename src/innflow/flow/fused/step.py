"""ActNorm, permutation and coupling by an MLP, as one node of the autograd graph.

For few features, autograd overhead dominates: the separate layers create about 30 nodes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from nflows.transforms.base import CompositeTransform
from torch import Tensor

from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling
from innflow.flow.fused import affine, spline
from innflow.flow.fused.derivative import as_function, needs_plain_gradients, plain_gradients
from innflow.flow.permute import Permute
from innflow.flow.spline import Spline
from innflow.flow.univariate import Affine

UNIVARIATES: dict[type, Any] = {Affine: affine, Spline: spline}
"""Modules with the functions `linear` and `linear_gradients` for each univariate."""


def coupling_step(
    norm: ActNorm, permute: Permute, coupling: Coupling, inputs: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Apply the three layers to vectors.

    Args:
        norm: on F features.
        permute: of F features.
        coupling: affine or spline, with an `MLP` of linear layers and SiLU.
        inputs: (B, F).
        context: (B, C) or none.

    Returns:
        Outputs (B, F) and logabsdet (B,).
    """
    weights: list[Tensor] = []
    for layer in list(cast(Any, coupling.net).layers._modules.values())[::2]:
        weights += (layer.weight, layer.bias)
    layers = (norm, permute, coupling)
    outputs, logabsdet = _Step.apply(layers, inputs, context, norm.log_scale, norm.shift, *weights)
    return outputs, logabsdet


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layers: tuple[ActNorm, Permute, Coupling],
        x: Tensor,
        context: Tensor | None,
        log_scale: Tensor,
        shift: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (B, F) and logabsdet (B,)."""
        _, permute, coupling = layers
        scale = log_scale.exp()
        mixed = torch.addcmul(shift, x, scale).index_select(1, permute.order)
        fixed, changed = mixed.split_with_sizes(coupling.sizes, dim=1)
        net_inputs = fixed if context is None else torch.cat((fixed, context), dim=1)
        hidden = _hidden(net_inputs, weights)
        univariate = coupling.univariate
        y, log_slope, kept = UNIVARIATES[type(univariate)].linear(
            univariate, changed, hidden[-1], *weights[-2:]
        )
        inputs = (x, context, log_scale, shift, *weights)
        ctx.save_for_backward(*inputs, scale, *hidden, *kept)
        ctx.layers, ctx.sizes = layers, (len(inputs), len(hidden))
        return torch.cat((fixed, y), dim=1), log_slope.sum(dim=1).add_(log_scale.sum())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, context, log-scale, shift and weights."""
        saved, (first, second) = ctx.saved_tensors, ctx.sizes
        inputs, (scale, *values) = saved[:first], saved[first:]
        hidden, kept = values[:second], values[second:]
        if needs_plain_gradients(grads):
            return None, *plain_gradients(_plain(ctx.layers), inputs, grads)
        x, context, _, _, *weights = inputs
        _, permute, coupling = ctx.layers
        univariate = coupling.univariate
        grad_outputs, grad_logabsdet = grads
        grad_fixed, grad_y = grad_outputs.split_with_sizes(coupling.sizes, dim=1)
        grad_log_slope = grad_logabsdet[:, None].expand_as(grad_y)
        grad_changed, grad_parameters = UNIVARIATES[type(univariate)].linear_gradients(
            univariate, kept, grad_y, grad_log_slope
        )
        grad_net, grad_weights = _mlp_gradients(grad_parameters, weights, hidden)
        if context is not None:
            grad_net, grad_context = grad_net.split((coupling.sizes[0], context.shape[1]), dim=1)
        grad_mixed = torch.cat((grad_fixed + grad_net, grad_changed), dim=1)
        grad_norm = grad_mixed.index_select(1, permute.restore)
        grad_x = grad_norm * scale
        grad_log_scale = (grad_x * x).sum(dim=0) + grad_logabsdet.sum()
        return (
            None,
            grad_x,
            None if context is None else grad_context,
            grad_log_scale,
            grad_norm.sum(dim=0),
            *grad_weights,
        )


def _plain(layers: Sequence[Any]) -> Any:
    """Return the layers as a function of inputs, context and parameters, in that order."""
    function = as_function(CompositeTransform(list(layers)))

    def run(x: Tensor, *others: Tensor | None) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *others)

    return run


def _hidden(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the input of an MLP with SiLU, then the values before and after each SiLU."""
    values = [x]
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
