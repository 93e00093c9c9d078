"""Checks of the code that a config read from a file, such as a checkpoint, may name."""

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from innflow.config.schema import nodes, target_of
from innflow.errors import InnflowError
from innflow.system.tree import walk

MODEL_PACKAGES = ("app", "flow", "latent", "objective", "score")
"""Packages whose exported names a checkpoint may build."""
DATA_PACKAGES = ("data", "analysis")
"""Packages also allowed when the data module is rebuilt from the checkpoint (innflow-eval)."""
PACKAGES = (*MODEL_PACKAGES, *DATA_PACKAGES, "callback", "dashboard", "system")
"""Packages whose exported names a config may build."""

LIBRARIES = {
    "torch.nn": "torch.nn.modules.",
    "torch.optim": "torch.optim.",
    "torch.optim.lr_scheduler": "torch.optim.",
    "torchvision.models": "torchvision.models.",
    "torchvision.ops": "torchvision.ops.",
}
"""Packages of which a checkpoint may name classes, and where those classes must be defined.

All of torch would be too wide: it holds functions that load, compile and download.
"""

NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")
OWN_CODE = re.compile(r"innflow\.problem\.[a-z]\w*\.(prior|forward|posterior|log_likelihood|NOISE)")
IMPORTED = ("forward", "command", "prior", "noise", "reference", "log_likelihood")
"""Keys of a data module whose values may be import paths, or a command."""


def check_trusted(config: Mapping[str, Any], where: str, data: bool = False) -> None:
    """Refuse targets other than the exported names of innflow and the classes of `LIBRARIES`.

    A name is compared with the lists before anything of it is imported. Interpolations are refused
    too: resolving one (`${oc.create:...}`) can add a target after the check.

    Args:
        config: the nodes to be built.
        where: the file they come from.
        data: also admit data modules and analyses, where the import paths of the data are those of
            `innflow.problem`.

    Raises:
        InnflowError: naming the target and how to allow it.
    """
    check_resolved(config, where)
    packages = (*MODEL_PACKAGES, *DATA_PACKAGES) if data else MODEL_PACKAGES
    for path, node in nodes(config):
        name = str(node["_target_"])
        own = is_exported(name, packages)
        if own and name.startswith(tuple(f"innflow.{home}." for home in DATA_PACKAGES)):
            # Import paths are recognised by their keys; a function such as write_shards is no data.
            function = not inspect.isclass(target_of(path, node)) and name not in known_targets()
            own = "_args_" not in node and not function
        if not own and not _is_library_class(name, path, node):
            raise InnflowError(
                f"{where}: {path}._target_={name} is no exported name of innflow and no module, "
                "optimizer or schedule of torch or torchvision; if you trust this file, load it "
                "with trust=True"
            )
        code = foreign_code(node) if data else None
        if code is not None:
            raise InnflowError(
                f"{where}: {path} names {code}, which is code; if you trust its writer, load it "
                "with trust=True"
            )


def check_resolved(config: Mapping[str, Any], where: str) -> None:
    """Refuse interpolations, which read the environment or add other nodes when resolved.

    Raises:
        InnflowError: with the first of them.
    """
    for _, value in walk(config):
        if isinstance(value, str) and "${" in value:
            raise InnflowError(
                f"{where}: {value!r} in its config is not resolved; innflow writes plain values"
            )


def check_version(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config that names code which this version of innflow does not export.

    Raises:
        InnflowError: with the first of them.
    """
    for _, node in nodes(config):
        name = str(node["_target_"])
        if name.startswith("innflow.") and not is_exported(name):
            raise InnflowError(
                f"{where}: names {name}, which this version of innflow does not have: it was "
                "written by another version; train the run again"
            )


def is_exported(name: str, packages: Sequence[str] = PACKAGES) -> bool:
    """Return whether a name is `innflow.PACKAGE.NAME` with NAME in the package's `__all__`.

    >>> is_exported("innflow.flow.vector"), is_exported("innflow.flow.coupling.Coupling")
    (True, False)
    """
    root, _, rest = name.partition(".")
    package, _, public = rest.partition(".")
    if root != "innflow" or package not in packages:
        return False
    return public in import_module(f"innflow.{package}").__all__


@cache
def known_targets() -> frozenset[str]:
    """Return all targets that innflow's own configs name."""
    paths = Path(str(files("innflow.conf"))).rglob("*.yaml")
    texts = (path.read_text(encoding="utf-8") for path in paths)
    return frozenset(name for text in texts for name in re.findall(r"_target_: *([\w.]+)", text))


def foreign_code(data: Mapping[str, Any]) -> str | None:
    """Return the first import path in a data node that is not of `innflow.problem`, if any."""
    paths = [data.get(key) for key in IMPORTED]
    return next((p for p in paths if isinstance(p, str) and not OWN_CODE.fullmatch(p)), None)


def _is_library_class(name: str, path: str, node: Mapping[str, Any]) -> bool:
    library = name.rpartition(".")[0]
    if library not in LIBRARIES or not NAME.fullmatch(name):
        return False
    from torch import nn, optim

    target = target_of(path, node)
    kinds = (nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler)
    is_kind = inspect.isclass(target) and issubclass(target, kinds)
    return is_kind and f"{target.__module__}.".startswith(LIBRARIES[library])
