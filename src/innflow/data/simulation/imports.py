"""Objects of a user's modules by import path."""

import difflib
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from innflow.errors import InnflowError, Stopped
from innflow.system.importing import add_current_folder

_CACHED = ("imported", "value", "_source")
"""Attributes of `Lazy` that are objects of a user's code."""


@dataclass(frozen=True)
class Imported:
    """An imported object, and the module in its import path."""

    value: Any
    module: ModuleType

    @property
    def modules(self) -> list[ModuleType]:
        """The module in the import path, and the one that defines the object if it differs."""
        home = sys.modules.get(module_name(self.value), self.module)
        return [self.module] if home is self.module else [self.module, home]


class Lazy:
    """Base of what calls a user's code: imported on first use, pickled without the import."""

    key: str
    path: str

    @cached_property
    def imported(self) -> Imported:
        """The object at the path that the config has under the key."""
        return resolve(self.path, self.key)

    def __getstate__(self) -> dict[str, Any]:
        return {key: it for key, it in vars(self).items() if key not in _CACHED}


def resolve(path: str, key: str) -> Imported:
    """Import an object by the value of a config key, the dotted path of a module and an attribute.

    The current folder is appended to `sys.path`, as with `python -m`, and stays there for later
    imports of the module.

    Raises:
        InnflowError: A part of the path does not exist, or importing the module raises.
    """
    where = f"{key}={path}"
    names = path.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise InnflowError(f"{where}: must be an import path such as mymodule.name")
    add_current_folder()
    module = _module(names[0], where)
    value: Any = module
    for depth, name in enumerate(names[1:], start=2):
        if value is module and not hasattr(module, name) and hasattr(module, "__path__"):
            value = module = _module(".".join(names[:depth]), where)
        elif not hasattr(value, name):
            raise InnflowError(f"{where}: {_missing_attribute(value, name, names[: depth - 1])}")
        else:
            value = getattr(value, name)
            module = value if isinstance(value, ModuleType) else module
    if isinstance(value, ModuleType):
        raise InnflowError(f"{where}: is a module; give an attribute of it: {_some(value)}")
    return Imported(value, module)


@contextmanager
def user_code(may_exit: bool = False) -> Iterator[None]:
    """Raise a `BaseException` of a user's code as an error, but for signals and interruptions.

    Args:
        may_exit: whether `SystemExit` ends the process, a copy that is made for this code.

    Raises:
        RuntimeError: in place of `SystemExit` and of what is not derived from `Exception`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:
        if may_exit and isinstance(error, SystemExit):
            raise
        raise RuntimeError(describe(error)) from error


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception on one short line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 200 else f"{text[:200]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def module_name(value: Any) -> str:
    """Return the name of the module that defines an object, or its type."""
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _module(name: str, where: str) -> ModuleType:
    try:
        with user_code(may_exit=True):  # reported below, with the line
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise InnflowError(f"{where}: {_missing_module(name)}") from None
        raise InnflowError(f"{where}: importing {name} raised {describe(error)}") from error
    except (Exception, SystemExit) as error:
        places = traceback.extract_tb(error.__traceback__)
        here = str(Path.cwd())
        place = [p for p in places if p.filename.startswith(here)][-1:] or places[-1:]
        line = f" ({Path(place[0].filename).name}, line {place[0].lineno})"
        line = "" if isinstance(error, SyntaxError) else line  # its message names the line
        raise InnflowError(f"{where}: importing {name} raised {describe(error)}{line}") from error


def _missing_module(name: str) -> str:
    package, _, last = name.rpartition(".")
    if package:
        found = sys.modules[package]
        inside = [module.name for module in pkgutil.iter_modules(found.__path__)]
        hint = _closest(last, [*inside, *_public(found)])
        return f"{package} has no module or attribute {last}{hint}"
    here = Path.cwd()
    inside = [module.name for module in pkgutil.iter_modules([str(here)])]
    return f"there is no module {name} in {here} or installed{_closest(name, inside)}"


def _missing_attribute(value: Any, name: str, owner: list[str]) -> str:
    line = f"{'.'.join(owner)} has no attribute {name}{_closest(name, _public(value))}"
    if not isinstance(value, ModuleType):
        return line
    hidden = Path.cwd() / f"{owner[0]}.py"
    file = getattr(sys.modules[owner[0]], "__file__", None)
    if hidden.is_file() and (file is None or not os.path.samefile(file, hidden)):
        return f"{hidden} is hidden by the module {owner[0]} in {file or 'Python'}: rename it"
    return f"module {line}"


def _closest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _public(value: Any) -> list[str]:
    return [name for name in dir(value) if not name.startswith("_")]


def _some(module: ModuleType) -> str:
    own = [name for name in _public(module) if not isinstance(getattr(module, name), ModuleType)]
    return ", ".join(own[:8]) or "it has nothing"
