"""Initialisation of layers from data."""

from abc import abstractmethod
from typing import cast

import torch
import torch.distributed as dist
from nflows.transforms.base import Transform
from torch import Tensor, nn


class DataDependent(Transform):
    """A transform whose parameters are initialised from a batch of its inputs.

    `forward` only uses the parameters; it has no special case for an uninitialised layer.
    """

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialised", torch.tensor(False))

    @abstractmethod
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Set parameters from the inputs (B, ...) of all ranks, context and targets."""


def all_reduced(moments: Tensor) -> Tensor:
    """Sum moments over all ranks, in place."""
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
    """Initialise every `DataDependent` layer of a flow from its inputs in one forward pass.

    Layers that are initialised already (as in a resumed run) keep their values. Under distributed
    training every rank calls this with its own batch, and all end with the same values.

    Args:
        flow: any module of transforms, called as `flow(inputs, context)`.
        inputs: (B, ...).
        context: (B, F) or none.
        targets: (B, M), values for the first M features of the latent, if there are any.
    """
    layers = [module for module in flow.modules() if isinstance(module, DataDependent)]
    pending = [layer for layer in layers if not bool(layer.initialised)]

    def start(layer: nn.Module, inputs: Tensor, context: Tensor | None = None) -> None:
        layer = cast(DataDependent, layer)
        if not bool(layer.initialised):  # a layer around it may have initialised it
            layer.initialise(inputs, context, targets)

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
