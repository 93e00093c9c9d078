"""Backward passes written out, where autograd would keep more, launch more or scatter.

Every one keeps inputs and outputs only and is itself made of differentiable operations, so that
second derivatives and `torch.func.vmap` are right too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def per_feature(values: Tensor, like: Tensor) -> Tensor:
    """Return values (F,) so that they broadcast over (B, F, ...)."""
    return values.view(-1, *(1,) * (like.dim() - 2))


def over_features(values: Tensor) -> Tensor:
    """Sum (B, F, ...) over all axes but dim 1: to (F,)."""
    return values.sum(dim=[0, *range(2, values.dim())])


class Reorder(torch.autograd.Function):
    """Gather dim 1 by an order; the gradient is gathered by the inverse order, not scattered."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor, order: Tensor, restore: Tensor) -> Tensor:
        """Return (B, F, ...) with feature i from feature `order[i]`."""
        return inputs.index_select(1, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep both orders."""
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the inputs."""
        order, restore = ctx.saved_tensors
        return Reorder.apply(grads[0], restore, order), None, None


class ScaleReorder(torch.autograd.Function):
    """Scale and shift every feature, then reorder: an ActNorm and the permutation behind it.

    Autograd would keep the exponential, and the scaled features for the permutation.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        inputs: Tensor, log_scale: Tensor, shift: Tensor, order: Tensor, restore: Tensor
    ) -> Tensor:
        """Return (inputs * exp(log_scale) + shift) in the new order, (B, F, ...)."""
        scale = per_feature(log_scale.exp(), inputs)
        return torch.addcmul(per_feature(shift, inputs), inputs, scale).index_select(1, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep the inputs, the log-scale and the inverse order."""
        features, log_scale, _, _, restore = inputs
        ctx.save_for_backward(features, log_scale, restore)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of inputs, log-scale and shift."""
        inputs, log_scale, restore = ctx.saved_tensors
        grad = grads[0].index_select(1, restore)
        of_inputs = grad * per_feature(log_scale.exp(), inputs)
        return of_inputs, over_features(of_inputs * inputs), over_features(grad), None, None


class ScaleShift(torch.autograd.Function):
    """y = x * exp(s) + t with s = bound * tanh(raw / bound), element by element.

    Kept are x and s; autograd would keep the tanh and the exponential beside them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, raw: Tensor, shift: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        """Return y and s, both of the shape of x."""
        log_scale = torch.tanh(raw / bound) * bound
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep x and s."""
        ctx.save_for_backward(inputs[0], output[1])
        ctx.bound = inputs[3]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of x, raw and shift."""
        x, log_scale = ctx.saved_tensors
        of_x = grads[0] * log_scale.exp()
        of_scale = torch.addcmul(grads[1], of_x, x)
        of_raw = torch.addcmul(of_scale, of_scale * log_scale, log_scale, value=-1 / ctx.bound**2)
        return of_x, of_raw, grads[0], None


class AffineCoupling(torch.autograd.Function):
    """`ScaleShift` of one half beside the other, with its log-determinant: one node of the graph.

    For small flows the number of nodes is what a step costs.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        fixed: Tensor, changed: Tensor, parameters: Tensor, bound: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs (B, F, ...), logabsdet (B,), and s of the changed half."""
        raw, shift = parameters.chunk(2, dim=1)
        log_scale = torch.tanh(raw / bound) * bound
        outputs = torch.cat((fixed, torch.addcmul(shift, changed, log_scale.exp())), dim=1)
        return outputs, log_scale.sum(dim=list(range(1, log_scale.dim()))), log_scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep the changed half and s."""
        ctx.save_for_backward(inputs[1], output[2])
        ctx.bound = inputs[3]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of both halves and of the parameters."""
        changed, log_scale = ctx.saved_tensors
        of_outputs, of_logabsdet, of_scale = grads
        total = log_scale.new_zeros(()) if of_scale is None else of_scale
        if of_logabsdet is not None:
            total = total + of_logabsdet.view(-1, *(1,) * (log_scale.dim() - 1))
        if of_outputs is None:
            of_fixed = of_changed = None
            of_shift = torch.zeros_like(log_scale)
        else:
            kept = of_outputs.shape[1] - log_scale.shape[1]
            of_fixed, of_shift = of_outputs[:, :kept], of_outputs[:, kept:]
            of_changed = of_shift * log_scale.exp()
            total = torch.addcmul(total, of_changed, changed)
        total = total.expand_as(log_scale)
        of_raw = torch.addcmul(total, total * log_scale, log_scale, value=-1 / ctx.bound**2)
        return of_fixed, of_changed, torch.cat((of_raw, of_shift), dim=1), None
