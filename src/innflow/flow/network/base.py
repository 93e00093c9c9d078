"""Initialisation and argument checks shared by the coupling networks.

A network factory is called as `subnet(inputs, outputs, context=0)`, and with `hidden` and
`size=(H, W)` where its signature has them. No network uses BatchNorm, which would couple the items
of a batch.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Set weight and bias of a last layer to 0, so that its coupling starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def need_context(context: Tensor | None, features: int, where: str) -> None:
    """Raise unless there is a context (B, features), or none for features=0."""
    got = 0 if context is None else context.shape[-1]
    if got != features:
        raise InnflowError(f"{where}: built for context={features} features, called with {got}")


def append_context(x: Tensor, context: Tensor | None, features: int, where: str) -> Tensor:
    """Append a context (B, features) to images (B, C, H, W) as constant channels."""
    need_context(context, features, where)
    if context is None:
        return x
    return torch.cat((x, context[:, :, None, None].expand(-1, -1, *x.shape[2:])), dim=1)


def need_sizes(where: str, **sizes: int) -> None:
    """Raise unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise InnflowError(f"{where}: {name}={value} must be at least 1")


def fix(subnet: Callable[..., nn.Module], **values: Any) -> Callable[..., nn.Module]:
    """Fix those arguments of a network factory that it names.

    A network of a user may have neither `hidden` nor `size`.
    """
    parameters = inspect.signature(subnet).parameters
    return partial(subnet, **{name: v for name, v in values.items() if name in parameters})
