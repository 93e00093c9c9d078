"""Sharding of the parameters of an application among ranks (FSDP2).

FSDP gathers parameters around `forward`, but a flow is also inverted and initialised. So coupling
networks, which hold most parameters and run by `forward` only, are sharded one by one; all other
parameters are gathered around every training method and every inference method.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from innflow.flow.coupling import BaseCoupling

TRAINING = ("initialise", "training_step", "validation_step")
"""Methods of an application around which FSDP gathers the parameters."""


def shard(app: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the parameters of an application over a mesh in place, keeping their names.

    Uses `torch.distributed.fsdp.fully_shard`.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for part in app.modules():
        if isinstance(part, BaseCoupling):
            fully_shard(part.net, mesh=mesh)
    fully_shard(app, mesh=mesh)
    for name in TRAINING:
        register_fsdp_forward_method(app, name)


@contextmanager
def gathered_parameters(app: nn.Module) -> Iterator[None]:
    """Gather the parameters inside the block, except those of coupling networks.

    A collective operation; does nothing for an application that is not sharded.
    """
    # `fully_shard` adds the method to the class of the module.
    sharded = cast(Any, app) if hasattr(app, "unshard") else None
    if sharded is not None:
        sharded.unshard()
    try:
        yield
    finally:
        if sharded is not None:
            sharded.reshard()


@torch.no_grad()
def scatter_parameters(app: nn.Module) -> None:
    """Copy values that were written into gathered parameters to the shards.

    Every rank must have written the same values. Does nothing for an application that is not
    sharded.
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
            shard = cast(DTensor, parameter)
            shard.copy_(distribute_tensor(written[name], shard.device_mesh, shard.placements))
