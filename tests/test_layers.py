"""Imports point one way: the layers of the architecture, checked in every file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import innflow

SOURCE = Path(innflow.__file__).parent

MAY_IMPORT = {
    # from the bottom to the top; a unit is a package or a module of innflow
    "errors": "",
    "system": "errors",
    "config": "errors system",
    "partition": "errors",
    "latent": "errors system partition",
    "objective": "errors partition latent",
    "flow": "errors",
    "metric": "errors",
    "score": "errors system metric",
    "figure": "errors metric",
    "problem": "errors",
    "data": "errors system problem",
    "app": "errors system partition latent objective flow metric score problem data",
    "analysis": "errors system config latent flow metric score figure data app",
    "dashboard": "errors system config",
    "callback": "errors system app figure dashboard",
    "run": "errors system config partition latent objective flow score figure data app analysis "
    "dashboard callback",
    "serve": "errors system config data app",
    "explore": "errors system config latent figure metric data app analysis run serve",
    "command": "errors system config figure metric data app analysis run serve explore",
    "estimator": "errors system flow score",
    "pretrained": "config app run",
    "__init__": "errors system partition latent objective flow app run pretrained",
}
ONLY_IN = {
    "nflows": "flow",
    "pytorch_lightning": "app callback dashboard data run system",
    "matplotlib": "figure analysis callback",
    "sklearn": "latent metric score figure data analysis estimator",
    "torchvision": "data command",
    "fsspec": "data",
    "webdataset": "data",
    "hydra": "config run system command",
    "omegaconf": "config run system command",
    "wandb": "dashboard",
    "pydantic": "config run",
    "onnxruntime": "run",
    "fastapi": "serve explore",
    "nicegui": "explore",
    "starlette": "serve explore",
    "uvicorn": "serve",
    "lightning": "",  # another namespace with the same classes: isinstance() fails between them
}


def imported(source: str) -> Iterator[str]:
    """Yield the dotted name of everything that a source text imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def offences(unit: str, source: str) -> list[str]:
    """Return what a source text of one unit imports and must not."""
    found = []
    for name in imported(source):
        package, _, rest = name.partition(".")
        if package == "":
            found.append(f"{unit}: relative import {name}")
        elif package == "innflow":
            other = rest.partition(".")[0]
            if other != unit and other not in MAY_IMPORT[unit].split():
                found.append(f"{unit} imports {name}")
        elif package in ONLY_IN and unit not in ONLY_IN[package].split():
            found.append(f"{unit} imports {name}")
    return found


def unit_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_imports_point_down(path):
    assert unit_of(path) in MAY_IMPORT, "give the new unit its place in MAY_IMPORT"
    assert not offences(unit_of(path), path.read_text())


def test_the_table_itself_points_down():
    below: set[str] = set()
    for unit, allowed in MAY_IMPORT.items():
        assert set(allowed.split()) <= below, unit
        below.add(unit)
    assert below == {unit_of(path) for path in FILES}


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("partition", "from innflow.flow import vector"),
        ("flow", "import innflow.app.module"),
        ("flow", "from innflow import app"),
        ("data", "from innflow.partition import Partition"),
        ("score", "import torch\ndef late():\n    from innflow.data.base import PartsSet"),
        ("analysis", "from innflow.run.load import load"),
        ("app", "from nflows.transforms import LULinear"),
        ("flow", "import pytorch_lightning as pl"),
        ("app", "import lightning.pytorch as pl"),
        ("run", "from lightning.pytorch import Trainer"),
        ("flow", "from ..app import base"),
    ],
)
def test_a_planted_upward_import_is_found(unit, source):
    assert len(offences(unit, source)) == 1


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("flow", "from nflows.transforms.base import Transform\nfrom innflow.flow.mask import m"),
        ("app", "from innflow.flow import CouplingFlow\nimport pytorch_lightning as pl"),
        ("errors", "import os, lightning_utilities"),
    ],
)
def test_an_import_that_points_down_is_none(unit, source):
    assert offences(unit, source) == []
