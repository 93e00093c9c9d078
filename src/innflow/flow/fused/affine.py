"""ActNorm, permutation and affine coupling by an MLP, as one node of the autograd graph.

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
from innflow.flow.fused.derivative import as_function, needs_plain_gradients, plain_gradients
from innflow.flow.permute import Permute
from innflow.flow.univariate import Affine


def affine_step(
    norm: ActNorm, permute: Permute, coupling: Coupling, inputs: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Apply the three layers to vectors.

    Args:
        norm: on F features.
        permute: of F features.
        coupling: affine, with an `MLP` of linear layers and SiLU.
        inputs: (B, F).
        context: (B, C) or none.

    Returns:
        Outputs (B, F) and logabsdet (B,).
    """
    weights: list[Tensor] = []
    for layer in list(cast(Any, coupling.net).layers._modules.values())[::2]:
        weights += (layer.weight, layer.bias)
    layers = (norm, permute, coupling)
    outputs, logabsdet = _AffineStep.apply(
        layers, inputs, context, norm.log_scale, norm.shift, *weights
    )
    return outputs, logabsdet


class _AffineStep(torch.autograd.Function):
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
        bound = cast(Affine, coupling.univariate).bound
        mixed = torch.addcmul(shift, x, log_scale.exp()).index_select(1, permute.order)
        fixed, changed = mixed.split(coupling.sizes, dim=1)
        net_inputs = fixed if context is None else torch.cat((fixed, context), dim=1)
        parameters, kept = _mlp(net_inputs, weights)
        raw, translation = parameters.chunk(2, dim=1)
        log_slope = (raw * (1 / bound)).tanh_().mul_(bound)
        changed_outputs = torch.addcmul(translation, changed, log_slope.exp())
        ctx.save_for_backward(x, context, log_scale, shift, *weights, changed, log_slope, *kept)
        ctx.layers, ctx.count = layers, 4 + len(weights)
        logabsdet = log_slope.sum(dim=1) + log_scale.sum()
        return torch.cat((fixed, changed_outputs), dim=1), logabsdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, context, log-scale, shift and weights."""
        saved = ctx.saved_tensors
        inputs, (changed, log_slope, *kept) = saved[: ctx.count], saved[ctx.count :]
        if needs_plain_gradients(grads):
            return None, *plain_gradients(_plain(ctx.layers), inputs, grads)
        x, context, log_scale, _, *weights = inputs
        _, permute, coupling = ctx.layers
        bound = cast(Affine, coupling.univariate).bound
        grad_outputs, grad_logabsdet = grads
        grad_fixed, grad_shift = grad_outputs.split(coupling.sizes, dim=1)
        grad_changed = grad_shift * log_slope.exp()
        grad_slope = torch.addcmul(grad_logabsdet[:, None], grad_changed, changed)
        # The derivative of bound * tanh(raw / bound) is 1 - (log_slope / bound)^2.
        grad_raw = grad_slope - grad_slope * log_slope.square() / bound**2
        grad_parameters = torch.cat((grad_raw, grad_shift), dim=1)
        grad_net, grad_weights = _mlp_gradients(grad_parameters, weights, kept)
        if context is not None:
            grad_net, grad_context = grad_net.split((coupling.sizes[0], context.shape[1]), dim=1)
        grad_mixed = torch.cat((grad_fixed + grad_net, grad_changed), dim=1)
        grad_norm = grad_mixed.index_select(1, permute.restore)
        grad_x = grad_norm * log_scale.exp()
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


def _mlp(x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the output of an MLP with SiLU, and the values before and after each SiLU."""
    kept = []
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        hidden = F.linear(x, weight, bias)
        kept += [x, hidden]
        x = F.silu(hidden)
    return F.linear(x, weights[-2], weights[-1]), [*kept, x]


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
