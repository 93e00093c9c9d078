"""Parameters in shares: each rank keeps a part of every one, and gathers those that a pass needs.

A flow is asked for more than `forward`: it goes back, it is initialised. What is gathered by itself
is the network of each coupling, which is the bulk and is always called as `net(...)`; the rest is
gathered as a whole, around every method that trains and every question that is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from innflow.flow.coupling import BaseCoupling

TRAINING = ("initialise", "training_step", "validation_step")
"""Methods of an application that read parameters while it is trained."""


def shard(app: nn.Module, mesh: DeviceMesh) -> None:
    """Divide the parameters of an application among the ranks of a mesh, in place.

    Their names stay (FSDP2, `torch.distributed.fsdp.fully_shard`).
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for part in app.modules():
        if isinstance(part, BaseCoupling):
            fully_shard(part.net, mesh=mesh)
    fully_shard(app, mesh=mesh)
    for name in TRAINING:
        register_fsdp_forward_method(app, name)


@contextmanager
def gathered(app: nn.Module) -> Iterator[None]:
    """Have all parameters whole inside, but for those of coupling networks, which do it alone.

    Every rank has to be there. Where nothing is divided, nothing happens.
    """
    divided = cast(Any, app) if hasattr(app, "unshard") else None
    if divided is not None:
        divided.unshard()
    try:
        yield
    finally:
        if divided is not None:
            divided.reshard()


@torch.no_grad()
def divide_again(app: nn.Module) -> None:
    """Keep what has been written into gathered parameters: the next time they come of the shares.

    Every rank must have written the same. Where nothing is divided, nothing happens.
    """
    if not hasattr(app, "reshard"):
        return
    from torch.distributed.tensor import DTensor, distribute_tensor

    written = {
        name: parameter.clone()
        for name, parameter in app.named_parameters()
        if not isinstance(parameter, DTensor)
    }
    cast(Any, app).reshard()
    for name, parameter in app.named_parameters():
        if name in written:
            share = cast(DTensor, parameter)
            share.copy_(distribute_tensor(written[name], share.device_mesh, share.placements))
