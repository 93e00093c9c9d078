"""Layers that take their starting values from data."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
import torch.distributed as dist
from nflows.transforms.base import Transform
from torch import Tensor, nn


class DataDependent(Transform):
    """A transform with a starting value that one pass of data gives it.

    Nothing in `forward` depends on whether that has happened.
    """

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialised", torch.tensor(False))

    @abstractmethod
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Take starting values from what reaches the layer, over the batches of all ranks."""


def all_reduced(moments: Tensor) -> Tensor:
    """Return sums over the batches of all ranks, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(moments)
    return moments


@torch.no_grad()
def initialise(
    flow: nn.Module,
    inputs: Tensor,
    context: Tensor | None = None,
    targets: Tensor | None = None,
) -> None:
    """Run data through a flow and let each layer initialise itself from what reaches it.

    Targets (B, M) are what the first M features of the latent are to be, where that is known.

    Layers that are initialised already (a resumed run) keep their values. Under distributed
    training every rank calls this with its own batch and all end with the same values.
    """
    layers = [module for module in flow.modules() if isinstance(module, DataDependent)]
    pending = [layer for layer in layers if not bool(layer.initialised)]

    def start(layer: nn.Module, inputs: Tensor, context: Tensor | None = None) -> None:
        cast(DataDependent, layer).initialise(inputs, context, targets)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, args: start(layer, *args))
        for layer in pending
    ]
    try:
        if pending:
            flow(inputs, context)
    finally:
        for hook in hooks:
            hook.remove()
