"""Coupling networks: any function of the fixed half, with its last layer starting at 0.

Each maker is called as `subnet(inputs, outputs, context=0)`, and one whose signature asks for
`size` also with `size=(H, W)` of the images that its network will see. It gives a module called as
`net(x, context)`. No BatchNorm: it couples the items of a batch, and test likelihoods then swing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Set a layer to 0, so that the coupling that it ends starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def need_context(context: Tensor | None, features: int, where: str) -> None:
    """Raise unless a context of this many features is given."""
    got = 0 if context is None else context.shape[-1]
    if got != features:
        raise InnflowError(f"{where}: built for context={features} features, called with {got}")


def append_context(x: Tensor, context: Tensor | None, features: int, where: str) -> Tensor:
    """Return images (B, C, H, W) with a context (B, features) as constant channels."""
    need_context(context, features, where)
    if context is None:
        return x
    return torch.cat((x, context[:, :, None, None].expand(-1, -1, *x.shape[2:])), dim=1)


def need_sizes(where: str, **sizes: int) -> None:
    """Raise unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise InnflowError(f"{where}: {name}={value} must be at least 1")


def for_size(subnet: Callable[..., nn.Module], size: Sequence[int]) -> Callable[..., nn.Module]:
    """Give a maker that asks for `size` the (H, W) of the images that its network will see."""
    if "size" not in signature(subnet).parameters:
        return subnet
    return partial(subnet, size=tuple(size))


def has_hooks(module: nn.Module) -> bool:
    """Say whether someone listens to the calls of a module, which then has to be called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
