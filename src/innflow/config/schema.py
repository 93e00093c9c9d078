"""Checks of a config's keys and values against the signatures of its targets."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_origin, get_type_hints

from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter, ValidationError

from innflow.config.bounds import LIBRARIES
from innflow.config.message import one_line
from innflow.errors import InnflowError
from innflow.system.tree import walk


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted path, node) of every node with a `_target_`, outermost first."""
    for where, value in walk(config, path):
        if isinstance(value, Mapping) and "_target_" in value:
            yield where, value


def target_of(path: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """Import the object that a node's `_target_` names."""
    try:
        return get_object(node["_target_"])
    except Exception as error:
        raise InnflowError(f"{path}._target_={node['_target_']}: {one_line(error)}") from None


def check(config: Mapping[str, Any]) -> None:
    """Check every node of a plain config against the signature of its target.

    Raises:
        InnflowError: naming a key that its target does not take, or whose value is NaN or excluded
            by its annotation.
    """
    for path, value in walk(config):
        if isinstance(value, float) and math.isnan(value):
            raise InnflowError(f"{path}={value}: is not a number")
    for path, node in nodes(config):
        target = target_of(path, node)
        try:
            parameters = inspect.signature(target).parameters
        except (TypeError, ValueError):
            where = f"{path}._target_={node['_target_']}"
            raise InnflowError(f"{where}: is no class or function that can be built") from None
        hints = hints_of(target) | LIBRARIES.get(node["_target_"], {})
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for key, value in node.items():
            if str(key).startswith("_") and str(key).endswith("_"):
                continue
            if key not in parameters and not open_ended:
                known = ", ".join(name for name in parameters if name != "self")
                raise InnflowError(
                    f"{path}.{key}={value} is unknown: {node['_target_']} has {known}"
                )
            if key in parameters and key in hints and not any(nodes(value)):
                _check_value(f"{path}.{key}", value, hints[key], node["_target_"])


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each parameter of a class or function, where it can be resolved."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}  # a library's annotations that only its own type checker can resolve


def _check_value(path: str, value: Any, hint: Any, target: str) -> None:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception as error:
        if isinstance(error, TypeError) or type(error).__module__.startswith("pydantic"):
            return  # for example a protocol: the constructor checks it
        raise
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        reasons = dict.fromkeys(detail["msg"] for detail in error.errors())
        hint = hint.__origin__ if get_origin(hint) is Annotated else hint
        shown = hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
        expected = f" ({target} expects {path.rsplit('.', 1)[-1]}: {shown})"
        raise InnflowError(
            f"{path}={value!r}: {' or '.join(reasons).lower()}{expected * (len(expected) < 100)}"
        ) from None
    except TypeError:
        return  # isinstance() against a protocol that cannot be checked at run time
