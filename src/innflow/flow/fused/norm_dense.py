"""A normalisation, a permutation and an affine coupling by an MLP as one node of the graph.

On vectors of a few features a step costs what its nodes cost: this one has ten of them otherwise,
each of which takes longer than the arithmetic in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling
from innflow.flow.fused.gradient import AffineCoupling, ScaleReorder
from innflow.flow.network.base import has_hooks
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute
from innflow.flow.univariate import Affine


def fits(coupling: Coupling, inputs: Tensor, context: Tensor | None) -> bool:
    """Say whether `NormDenseAffine` may stand in for a coupling and what is before it.

    It may where the network is an MLP of linear layers and SiLU that nobody listens to, wraps or
    parametrizes, in the precision of its inputs, and reads no context. A compiler and `torch.func`
    are to see the layers themselves.
    """
    net = coupling.net
    return (
        context is None
        and type(net) is MLP
        and net.context == 0
        and type(coupling.univariate) is Affine
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled(inputs.device.type)
        and not has_hooks(net)
        and not has_hooks(net.layers)
        and all(
            type(layer) in (nn.Linear, nn.SiLU) and not has_hooks(layer)
            for layer in net.layers._modules.values()
        )
    )


def goes_back(steps: Sequence[Any], inputs: Tensor, context: Tensor | None) -> bool:
    """Say whether these are the three steps that `take_back` undoes, with nobody listening."""
    return (
        tuple(map(type, steps)) == (ActNorm, Permute, Coupling)
        and inputs.dim() == 2
        and not any(map(has_hooks, steps))
        and fits(steps[2], inputs, context)
    )


def weights(net: nn.Module) -> list[Any]:
    """Return weight and bias of every linear layer of an MLP, in order."""
    found: list[Any] = []
    for layer in list(net.layers._modules.values())[::2]:  # type: ignore[union-attr]
        found += layer._parameters.values()
    return found


class NormDenseAffine(torch.autograd.Function):
    """`ScaleReorder`, then `AffineCoupling` with parameters from an MLP on the first half.

    Second derivatives are autograd's own: they go through all of it once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        log_scale: Tensor,
        shift: Tensor,
        order: Tensor | None,
        restore: Tensor | None,
        bound: float,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return both halves and the logabsdet (B,) of the coupling.

        Args:
            ctx: keeps what `backward` needs.
            first: (B, I), as for `ScaleReorder`, like the next four.
            second: (B, F).
            log_scale: (I + F,).
            shift: (I + F,).
            order: (I + F,) or none.
            restore: likewise.
            bound: of the coupling's log-scale.
            weights: of the MLP, weight and bias of every layer in order.
        """
        seen, changed = ScaleReorder.forward(first, second, log_scale, shift, order, restore)
        parameters, kept = _network(seen, weights)
        outputs, logabsdet, log_s = AffineCoupling.forward(changed, parameters, bound)
        ctx.save_for_backward(
            first, second, log_scale, shift, order, restore, changed, log_s, *weights, *kept
        )
        ctx.bound, ctx.weights = bound, len(weights)
        return seen, outputs, logabsdet

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of both halves, the normalisation and the weights."""
        first, second, log_scale, shift, order, restore, changed, log_s, *rest = ctx.saved_tensors
        weights, kept = rest[: ctx.weights], rest[ctx.weights :]
        if torch.is_grad_enabled():
            inputs = (first, second, log_scale, shift, order, restore, ctx.bound, *weights)
            return _gradients_of_gradients(inputs, grads)
        of_seen, of_outputs, of_logabsdet = grads
        of_changed, of_parameters = AffineCoupling.gradients(
            changed, log_s, ctx.bound, of_outputs, of_logabsdet
        )
        through, of_weights = _network_gradients(of_parameters, weights, kept)
        of_first, of_second, of_log_scale, of_shift = ScaleReorder.gradients(
            first, second, log_scale, restore, of_seen + through, cast(Tensor, of_changed)
        )
        return of_first, of_second, of_log_scale, of_shift, None, None, None, *of_weights


def take_back(
    steps: Sequence[Any], outputs: Tensor, of_outputs: Tensor, of_logabsdet: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Go back through a normalisation, a permutation and a coupling from their outputs alone.

    The network runs once, for the inverse and for the gradients.

    Args:
        steps: the three, a coupling that fits.
        outputs: (B, F).
        of_outputs: (B, F), the gradient of the outputs.
        of_logabsdet: (B,), that of all log-determinants.

    Returns:
        The inputs and their gradient, both (B, F), and parameters with theirs.
    """
    norm, permute, coupling = steps
    bound, layers = coupling.univariate.bound, weights(coupling.net)
    seen, changed = outputs.split(coupling.sizes, dim=1)
    of_seen, of_changed = of_outputs.split(coupling.sizes, dim=1)
    parameters, kept = _network(seen, layers)
    changed, log_s = AffineCoupling.undo(changed, parameters, bound)
    of_before, of_parameters = AffineCoupling.gradients(
        changed, log_s, bound, of_changed, of_logabsdet
    )
    through, of_layers = _network_gradients(of_parameters, layers, kept)
    inputs = permute.undo(seen, changed)
    inputs = (inputs - norm.shift) * torch.exp(-norm.log_scale)
    first, second = inputs.split(coupling.sizes, dim=1)
    restore = None if permute.exchanges else permute.restore
    of_first, of_second, of_log_scale, of_shift = ScaleReorder.gradients(
        first, second, norm.log_scale, restore, of_seen + through, cast(Tensor, of_before)
    )
    found = [(norm.log_scale, of_log_scale + of_logabsdet.sum()), (norm.shift, of_shift)]
    found += zip(layers, of_layers, strict=True)
    return inputs, torch.cat((of_first, of_second), dim=1), found


def _network(seen: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the output of the MLP, and what went into and came out of its layers in turn."""
    kept = []
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        hidden = F.linear(seen, weight, bias)
        kept += [seen, hidden]
        seen = F.silu(hidden)
    return F.linear(seen, weights[-2], weights[-1]), [*kept, seen]


def _network_gradients(
    grad: Tensor, weights: Sequence[Tensor], kept: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of what the MLP saw and of its weights."""
    found: list[Tensor] = []
    for index in range(len(weights) - 2, -1, -2):
        found += [grad.sum(0), grad.t().mm(kept.pop())]
        grad = grad.mm(weights[index])
        if kept:
            grad = torch.ops.aten.silu_backward(grad, kept.pop())
    return grad, found[::-1]


def _gradients_of_gradients(
    inputs: tuple[Any, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `NormDenseAffine` so that they can be differentiated themselves."""
    first, second, log_scale, shift, order, restore, bound, *weights = inputs
    seen, changed = ScaleReorder.run(first, second, log_scale, shift, order, restore)
    parameters, _ = _network(seen, weights)
    outputs, logabsdet, _ = AffineCoupling.run(changed, parameters, bound)
    wanted = [isinstance(value, Tensor) and value.requires_grad for value in inputs]
    starts = [value for value, want in zip(inputs, wanted, strict=True) if want]
    found = iter(torch.autograd.grad((seen, outputs, logabsdet), starts, grads, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)
