"""What may be built from a file that somebody else wrote."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from innflow.config.schema import nodes, target_of
from innflow.errors import InnflowError

BUILDING = ("app", "flow", "latent", "objective", "score")
"""Packages of innflow whose exported names only build: what a checkpoint may name."""

LIBRARIES = {
    "torch.nn": "torch.nn.modules.",
    "torch.optim": "torch.optim.",
    "torch.optim.lr_scheduler": "torch.optim.",
    "torchvision.models": "torchvision.models.",
    "torchvision.ops": "torchvision.ops.",
}
"""Packages of which a checkpoint may name classes, and where those classes must be defined.

All of torch would be too wide: somewhere in it are functions that load, compile and download.
"""

NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")

PARTITION = "partition.Partition"

OWN_CODE = re.compile(r"innflow\.problem\.[A-Za-z]\w*\.[A-Za-z]\w*")

IMPORTED = ("forward", "prior", "noise", "reference")
"""Keys of a data module under which an import path may stand."""


def check_trusted(config: Mapping[str, Any], where: str, data: bool = False) -> None:
    """Refuse targets that a file must not be able to name.

    A checkpoint is data: building from it may only construct what innflow defines for building
    applications, and the modules, optimizers and schedulers of `LIBRARIES`. What is not on the
    list is not even imported. Interpolations are refused too: resolving one (`${oc.create:...}`)
    can bring in a target that nobody has seen.

    Args:
        config: the nodes that are to be built.
        where: the file they come from.
        data: also admit innflow's data modules and analyses.

    Raises:
        InnflowError: naming the target and how to allow it.
    """
    check_resolved(config, where)
    for path, node in nodes(config):
        name = str(node["_target_"])
        code = foreign_code(node) if data else None
        if code is not None:
            raise InnflowError(
                f"{where}: {path} names {code}, which is code; if you trust its writer, load it "
                "with trust=True"
            )
        plain = NAME.fullmatch(name) is not None
        admitted = plain and data and _serves_data(name, node)
        if not admitted and not (plain and _harmless(name, path, node)):
            raise InnflowError(
                f"{where}: {path}._target_={name} is nothing that innflow, torch or torchvision "
                "builds models of; if you trust this file, load it with trust=True"
            )


def check_resolved(config: Mapping[str, Any], where: str) -> None:
    """Refuse interpolations: resolved, they read the environment or bring in other nodes.

    Raises:
        InnflowError: with the first of them.
    """
    for value in _strings(config):
        if "${" in value:
            raise InnflowError(
                f"{where}: {value!r} in its config is not resolved; innflow writes plain values"
            )


def foreign_code(data: Mapping[str, Any]) -> str | None:
    """Return the first import path in a node of data that is not of `innflow.problem`, if any."""
    for key in IMPORTED:
        path = data.get(key)
        if isinstance(path, str) and not OWN_CODE.fullmatch(path):
            return path
    return None


def _strings(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from _strings(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _strings(value)


def _harmless(name: str, path: str, node: Mapping[str, Any]) -> bool:
    package, _, rest = name.partition(".")
    if package == "innflow":
        home, _, public = rest.partition(".")
        return rest == PARTITION or (home in BUILDING and public in _exported(home))
    library = name.rpartition(".")[0]
    if library not in LIBRARIES:
        return False
    from torch import nn, optim

    target = target_of(path, node)
    kinds = (nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler)
    if not inspect.isclass(target) or not issubclass(target, kinds):
        return False
    return f"{target.__module__}.".startswith(LIBRARIES[library])


def _exported(home: str) -> list[str]:
    """Return the public names of a package of innflow: what its `__all__` lists."""
    names: list[str] = import_module(f"innflow.{home}").__all__
    return names


def _serves_data(name: str, node: Mapping[str, Any]) -> bool:
    if "_args_" in node:
        return False  # import paths are known by their keys
    return any(
        name == f"innflow.{home}.{public}"
        for home in ("data", "analysis")
        for public in _exported(home)
    )
