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
    return values if like.dim() == 2 else values.view(-1, *(1,) * (like.dim() - 2))


def over_features(values: Tensor) -> Tensor:
    """Sum (B, F, ...) over all axes but dim 1: to (F,)."""
    return values.sum(0) if values.dim() == 2 else values.sum(dim=[0, *range(2, values.dim())])


class Written(torch.autograd.Function):
    """A Function with its backward pass written out, called at the least cost.

    A Function with a `setup_context`, which `torch.func` asks for, costs 20 microseconds a call
    more than one without, as much as its arithmetic in a small flow. So every one has a twin
    without, which is what runs outside of `torch.func`.
    """

    generate_vmap_rule = True
    _twin: type[torch.autograd.Function]

    def __init_subclass__(cls) -> None:
        """Make the twin."""
        super().__init_subclass__()

        def forward(ctx: Any, *inputs: Any) -> Any:
            output = cls.forward(*inputs)
            cls.setup_context(ctx, inputs, output)
            return output

        passes = {"forward": staticmethod(forward), "backward": staticmethod(cls.backward)}
        cls._twin = type(f"{cls.__name__}Twin", (torch.autograd.Function,), passes)

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Apply the function to inputs, in order."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return cls.apply(*inputs)
        return cls._twin.apply(*inputs)


class Reorder(Written):
    """Gather dim 1 by an order; the gradient is gathered by the inverse order, not scattered."""

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
        return Reorder.run(grads[0], restore, order), None, None


class ScaleReorder(Written):
    """Scale, shift and reorder features that come and go in two parts.

    This is what stands between two couplings: an ActNorm and a permutation. Autograd would keep
    the exponential, the scaled features and both joins.
    """

    @staticmethod
    def forward(
        first: Tensor,
        second: Tensor,
        log_scale: Tensor,
        shift: Tensor,
        order: Tensor | None,
        restore: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the features in the new order as two parts of the sizes of the old ones.

        Args:
            first: (B, K, ...).
            second: (B, F - K, ...).
            log_scale: (F,), per feature as it comes in.
            shift: (F,).
            order: (F,), output feature i is input feature `order[i]`; none exchanges two halves.
            restore: the inverse order.
        """
        scale = log_scale.exp()
        if order is None:
            (scale_first, scale_second), (shift_first, shift_second) = (
                scale.chunk(2),
                shift.chunk(2),
            )
            return (
                torch.addcmul(
                    per_feature(shift_second, second), second, per_feature(scale_second, second)
                ),
                torch.addcmul(
                    per_feature(shift_first, first), first, per_feature(scale_first, first)
                ),
            )
        whole = torch.cat((first, second), dim=1)
        whole = torch.addcmul(per_feature(shift, whole), whole, per_feature(scale, whole))
        parts = whole.index_select(1, order).split((first.shape[1], second.shape[1]), dim=1)
        return parts[0], parts[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep the inputs, the log-scale and the inverse order."""
        first, second, log_scale, _, _, restore = inputs
        ctx.save_for_backward(first, second, log_scale, restore)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of both parts, log-scale and shift."""
        return *ScaleReorder.gradients(*ctx.saved_tensors, *grads), None, None

    @staticmethod
    def gradients(
        first: Tensor,
        second: Tensor,
        log_scale: Tensor,
        restore: Tensor | None,
        of_first: Tensor,
        of_second: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of both parts, log-scale and shift from those of the outputs."""
        sizes = (first.shape[1], second.shape[1])
        if restore is None:
            of_first, of_second = of_second, of_first
        else:
            whole = torch.cat((of_first, of_second), dim=1).index_select(1, restore)
            of_first, of_second = whole.split(sizes, dim=1)
        scale_first, scale_second = log_scale.exp().split(sizes)
        of_shift = torch.cat((over_features(of_first), over_features(of_second)))
        of_first = of_first * per_feature(scale_first, of_first)
        of_second = of_second * per_feature(scale_second, of_second)
        of_scale = (over_features(of_first * first), over_features(of_second * second))
        return of_first, of_second, torch.cat(of_scale), of_shift


class ScaleShift(Written):
    """y = x * exp(s) + t with s = bound * tanh(raw / bound), element by element.

    Kept are x and s; autograd would keep the tanh and the exponential beside them.
    """

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


class AffineCoupling(Written):
    """`ScaleShift` by the parameters of a coupling, with its log-determinant, in one node.

    For small flows the number of nodes is what a step costs.
    """

    @staticmethod
    def forward(x: Tensor, parameters: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return y, logabsdet (B,) and s, from x (B, F, ...) and parameters (B, 2 F, ...)."""
        log_scale, shift = AffineCoupling.scale_shift(parameters, bound)
        outputs = torch.addcmul(shift, x, log_scale.exp())
        return outputs, log_scale.sum(dim=list(range(1, x.dim()))), log_scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep x and s."""
        ctx.save_for_backward(inputs[0], output[2])
        ctx.bound = inputs[2]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of the parameters."""
        x, log_scale = ctx.saved_tensors
        return *AffineCoupling.gradients(x, log_scale, ctx.bound, *grads), None

    @staticmethod
    def scale_shift(parameters: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        """Return s and t, both (B, F, ...), from parameters (B, 2 F, ...)."""
        raw, shift = parameters.chunk(2, dim=1)
        return (raw * (1 / bound)).tanh_().mul_(bound), shift

    @staticmethod
    def undo(y: Tensor, parameters: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        """Return x and s from y (B, F, ...)."""
        log_scale, shift = AffineCoupling.scale_shift(parameters, bound)
        return (y - shift).mul_(torch.exp(-log_scale)), log_scale

    @staticmethod
    def gradients(
        x: Tensor,
        log_scale: Tensor,
        bound: float,
        of_outputs: Tensor | None,
        of_logabsdet: Tensor | None,
        of_scale: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of x and of the parameters from those of the outputs, if any."""
        total = of_scale
        if of_logabsdet is not None:
            of_items = of_logabsdet.view(-1, *(1,) * (log_scale.dim() - 1))
            total = of_items if total is None else total + of_items
        if total is None:
            total = log_scale.new_zeros(())
        if of_outputs is None:
            of_x, of_shift = None, torch.zeros_like(log_scale)
            total = total.expand_as(log_scale)
        else:
            of_x, of_shift = of_outputs * log_scale.exp(), of_outputs
            total = torch.addcmul(total, of_x, x)
        of_raw = torch.addcmul(total, total * log_scale, log_scale, value=-1 / bound**2)
        return of_x, torch.cat((of_raw, of_shift), dim=1)
