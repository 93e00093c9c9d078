"""Configs: resolvers, checks before anything is touched, and what may be built from a file."""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_type_hints

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from innflow.errors import InnflowError
from innflow.secret import check_complete

log = logging.getLogger(__name__)

BUILDING = (
    "app", "contrast", "flow", "latent", "mixture", "objective", "partition", "score", "terms",
)  # fmt: skip
"""Modules of innflow that only build: what a checkpoint may name."""
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
OWN_CODE = re.compile(r"innflow\.problem\.[A-Za-z]\w*\.[A-Za-z]\w*")
IMPORTED = ("forward", "prior", "noise", "reference")
"""Keys of a data module under which an import path may stand."""
DATA_MODULE = "innflow.data.base.PartsDataModule"
STAMP = "INNFLOW_STAMP"
CONF = "innflow.conf"
VERSION_BASE = "1.3"


def register_resolvers() -> None:
    """Make the functions that values of configs call known to OmegaConf; idempotent."""
    OmegaConf.register_new_resolver("stamp", stamp, replace=True)
    OmegaConf.register_new_resolver("lightning_precision", lightning_precision, replace=True)
    OmegaConf.register_new_resolver("fits_fused", fits_fused, replace=True)
    OmegaConf.register_new_resolver("slurm_gpus", slurm_gpus, replace=True)


def stamp() -> str:
    """Return the time at which this command began, the same in processes that it starts."""
    return os.environ.setdefault(STAMP, time.strftime("%Y-%m-%d_%H-%M-%S"))


def lightning_precision(precision: int | str) -> str:
    """Return Lightning's name of a precision.

    Only coupling networks run in bfloat16: the trunk of a flow, its log-determinants and its
    latents stay in float32.

    Args:
        precision: 32, bf16, or native: bf16 where the hardware multiplies it, else 32.
    """
    if str(precision) not in ("32", "bf16", "native"):
        raise InnflowError(f"precision={precision} is unknown: takes 32, bf16 or native")
    if str(precision) == "native":
        precision = "bf16" if _multiplies_bfloat16() else 32
    return "bf16-mixed" if precision == "bf16" else "32-true"


def fits_fused(precision: int | str) -> bool:
    """Return whether a fused optimizer fits one of Lightning's precisions: no mixed one."""
    return "mixed" not in str(precision)


def slurm_gpus(accelerator: str, devices: Any) -> Any:
    """Return how many GPUs a job of Slurm asks for on each node: a device is one, unless a CPU."""
    return None if accelerator == "cpu" else devices


def _multiplies_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose one of innflow's configs, outside of Hydra's own main."""
    with initialize_config_module(CONF, version_base=VERSION_BASE):
        return compose(name, list(overrides))


def to_plain(cfg: Any) -> Any:
    """Return plain dicts, lists and scalars with every `${}` resolved."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted path, node) of every node with a `_target_`, outermost first."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, config
        for key, value in config.items():
            yield from nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from nodes(value, f"{path}[{index}]")


def target_of(path: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what a node's `_target_` names."""
    try:
        return get_object(node["_target_"])
    except Exception as error:
        raise InnflowError(f"{path}._target_={node['_target_']}: {one_line(error)}") from None


def check(config: Mapping[str, Any]) -> None:
    """Check every node of a plain config against the signature of its target.

    The signatures are the schema: a key that the target does not take, or a value that its
    annotation does not admit, stops here, before any data is read.

    Raises:
        InnflowError: naming the key, the value and what the target takes.
    """
    for path, node in nodes(config):
        target = target_of(path, node)
        try:
            parameters = inspect.signature(target).parameters
        except (TypeError, ValueError):
            raise InnflowError(
                f"{path}._target_={node['_target_']}: is nothing that a config can build"
            ) from None
        hints = _hints(target)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for key, value in node.items():
            if str(key).startswith("_") and str(key).endswith("_"):
                continue
            if key not in parameters:
                if open_ended:
                    continue
                raise InnflowError(
                    f"{path}.{key}={value} is unknown: {node['_target_']} takes "
                    f"{', '.join(name for name in parameters if name != 'self')}"
                )
            if not any(True for _ in nodes(value)) and key in hints:
                _check_value(f"{path}.{key}", value, hints[key], node["_target_"])


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}  # a library's annotations that only its own type checker can resolve


def _check_value(path: str, value: Any, hint: Any, target: str) -> None:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, TypeError):
        return  # a protocol or the like: the constructor itself checks it
    except Exception as error:
        if type(error).__module__.startswith("pydantic"):
            return
        raise
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        reasons = dict.fromkeys(detail["msg"] for detail in error.errors())
        shown = hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
        takes = f" ({target} takes {path.rsplit('.', 1)[-1]}: {shown})"
        raise InnflowError(
            f"{path}={value!r}: {' or '.join(reasons).lower()}{takes * (len(takes) < 100)}"
        ) from None
    except TypeError:
        return  # isinstance() against a protocol that cannot be checked at run time


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn what a constructor refuses into one line that names the node."""
    try:
        yield
    except InnflowError:
        raise
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, InnflowError):
            raise cause from None
        log.debug("%s was refused", path, exc_info=True)
        raise InnflowError(f"{path}: {one_line(cause)}") from error


def build(config: Any, path: str, redacted: bool = False) -> Any:
    """Instantiate a node and all nodes in it; with `_partial_`, what makes it.

    Args:
        config: the node.
        path: where it stands, for errors.
        redacted: whether it may show that secrets were taken out of it.

    Raises:
        InnflowError: with the reason, naming the node.
    """
    if not redacted:
        check_complete(config, path)
    with refusals(path):
        return instantiate(config, _convert_="all")


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
        admitted = plain and data and _serves_data(name, path, node)
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
        # The object's own module counts: `innflow.app.base.torch.load` is torch's, not ours.
        if rest.split(".", maxsplit=1)[0] not in BUILDING:
            return False
        target = target_of(path, node)
        home = str(getattr(target, "__module__", ""))
        if "." in getattr(target, "__qualname__", "."):
            return False  # a method: `innflow.score.Scorer.save` writes files
        return any(home == f"innflow.{m}" or home.startswith(f"innflow.{m}.") for m in BUILDING)
    library = name.rpartition(".")[0]
    if library not in LIBRARIES:
        return False
    from torch import nn, optim

    target = target_of(path, node)
    kinds = (nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler)
    if not inspect.isclass(target) or not issubclass(target, kinds):
        return False
    return f"{target.__module__}.".startswith(LIBRARIES[library])


def _serves_data(name: str, path: str, node: Mapping[str, Any]) -> bool:
    if "_args_" in node:
        return False  # import paths are known by their keys
    if name == "innflow.data.simcats.cats":
        return True
    if not name.startswith(("innflow.data.", "innflow.analysis.")):
        return False
    target = target_of(path, node)
    if not inspect.isclass(target):
        return False
    if target.__module__.startswith("innflow.analysis."):
        return True
    # Not any class of innflow.data: `ForwardModel(path)` imports what it is given.
    bases = (f"{base.__module__}.{base.__qualname__}" for base in inspect.getmro(target))
    return target.__module__.startswith("innflow.data.") and DATA_MODULE in bases


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, without the hints that only help Hydra's authors."""
    text = str(error).split("Config search path:", maxsplit=1)[0]
    noise = ("HYDRA_FULL_ERROR", "See https://hydra.cc", "object_type=")
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not any(hint in line for hint in noise)]
    # A file's name may hold what moves the cursor of a terminal or retitles its window.
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(kept))
    return "".join(shown) or type(error).__name__


def as_config(plain: Mapping[str, Any]) -> DictConfig:
    """Return a config that refuses keys it does not have."""
    cfg = OmegaConf.create(dict(plain))
    OmegaConf.set_struct(cfg, True)
    return cfg
