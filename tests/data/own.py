"""A user's own module, written into a folder that becomes the current one."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest


def write_module(
    monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, name: str = "mymodule"
) -> None:
    """Write a module that is not imported yet, nor after the test; sys.path lacks its folder."""
    (folder / f"{name}.py").write_text(dedent(source))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(folder))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, name, None)  # what the test imports is undone with it
    del sys.modules[name]
