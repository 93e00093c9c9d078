"""Composition of configs, and objects built from them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException
from hydra.main import get_args_parser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from innflow.config.message import one_line
from innflow.errors import InnflowError
from innflow.system.explain import explain
from innflow.system.secret import check_complete

log = logging.getLogger(__name__)

CONF = "innflow.conf"
"""Package that holds the configs."""
VERSION_BASE = "1.3"
"""Version of Hydra whose defaults apply."""


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose one of innflow's configs without Hydra's main function."""
    check_options(overrides)
    with initialize_config_module(CONF, version_base=VERSION_BASE):
        return compose(name, list(overrides))


def check_options(arguments: Sequence[str]) -> None:
    """Refuse options that Hydra does not have, and lists of anything but names for a group.

    Raises:
        InnflowError: naming the argument.
    """
    options = get_args_parser()
    options.error = _refuse_option  # type: ignore[method-assign]  # which prints the usage
    options.parse_args(list(arguments))
    parser = OverridesParser.create()
    for text in arguments:
        try:
            parsed = parser.parse_override(text)
            value = parsed.value()
        except HydraException:  # an option of the command line, or an error that Hydra reports
            continue
        choices = value.list if isinstance(value, ChoiceSweep) else [value]
        names = [each for choice in choices if isinstance(choice, list) for each in choice]
        if is_group(parsed.key_or_group) and not all(isinstance(name, str) for name in names):
            raise InnflowError(f"{text}: must be the name of an option of {parsed.key_or_group}")


def _refuse_option(message: str) -> NoReturn:
    raise InnflowError(f"{message}; --hydra-help lists the options")


def is_group(key: str) -> bool:
    """Return whether a key is a group of innflow's configs."""
    return Path(str(files(CONF)), *key.split("/")).is_dir()


def to_plain(cfg: Any) -> Any:
    """Return plain dicts, lists and scalars with every `${}` resolved."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn any error of a constructor into an `InnflowError` of one line that names the node."""
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
        reason = (explain(cause) or one_line(cause)).removeprefix(f"{path}: ")
        raise InnflowError(f"{path}: {reason}") from error


def build(config: Any, path: str, redacted: bool = False) -> Any:
    """Instantiate a node and all nodes in it; a partial of the target where it has `_partial_`.

    A node whose secrets were removed is refused unless it is `redacted`.

    Raises:
        InnflowError: with the reason, and the path of the node in the config.

    >>> build({"_target_": "innflow.flow.Spline", "bins": 5}, "coupling").bins
    5
    """
    if not redacted:
        check_complete(config, path)
    with refusals(path):
        return instantiate(config, _convert_="all")


def build_group(nodes: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Build every node of a group by its name; one set to null is left out.

    So is one without a target: settings of an experiment for a node that the chosen group lacks.
    """
    given = {name: node for name, node in nodes.items() if node and "_target_" in node}
    return {name: build(node, f"{path}.{name}") for name, node in given.items()}


def as_config(plain: Mapping[str, Any]) -> DictConfig:
    """Return a config in which only existing keys can be set."""
    cfg = OmegaConf.create(dict(plain))
    OmegaConf.set_struct(cfg, True)
    return cfg
