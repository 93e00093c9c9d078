"""A user's own module, written into a folder that becomes the current one."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest


def write_module(
    monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, name: str = "mymodule"
) -> None:
    """Write a module that no process has imported yet; sys.path lacks the current folder."""
    (folder / f"{name}.py").write_text(dedent(source))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(folder))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop(name, None)
