"""Modules of a user in the current folder."""

import importlib
import sys
from pathlib import Path


def add_current_folder() -> None:
    """Append the current folder to `sys.path`, so that a user's modules in it can be imported.

    The scripts of an installed package do not have it there, unlike `python -m`. It comes last, so
    that no file in it hides an installed package.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()  # a file may have been written a moment ago
