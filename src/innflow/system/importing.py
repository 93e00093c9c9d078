"""Imports: exported names on first use, and modules of a user in the current folder."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) that imports exported names on first use.

    Args:
        package: name of the package, for errors.
        homes: exported name -> module that defines it; a submodule -> itself.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return __getattr__


def add_current_folder() -> None:
    """Append the current folder to `sys.path`, so that a user's modules in it can be imported.

    The scripts of an installed package do not have it there, unlike `python -m`. It comes last, so
    that no file in it hides an installed package.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    invalidate_caches()  # a file may have been written a moment ago
