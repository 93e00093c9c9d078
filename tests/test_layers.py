"""Imports point down: the architecture, checked on the syntax tree of every file."""

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
    "allocator": "",
    "archive": "",
    "ranks": "",
    "slurm": "",
    "progress": "errors",
    "secret": "errors",
    "config": "errors secret",
    "resume": "errors secret config",
    "failure": "secret",
    "rundir": "errors slurm secret",
    "partition": "errors",
    "latent": "errors partition",
    "mixture": "errors latent",
    "objective": "errors partition latent",
    "terms": "errors latent mixture objective",
    "contrast": "errors latent mixture objective",
    "flow": "errors",
    "metric": "errors",
    "score": "errors archive metric",
    "figure": "errors metric",
    "problem": "errors",
    "data": "errors archive ranks progress problem",
    "app": "errors ranks progress partition latent mixture objective flow score",
    "analysis": "errors archive progress metric score figure",
    "dashboard": "errors progress secret config rundir",
    "callback": "errors slurm progress app figure dashboard",
    "checkpoint": "errors config partition latent objective flow score app",
    "companion": "errors app checkpoint",
    "report": "errors progress rundir figure analysis",
    "strategy": "errors config app",
    "run": "allocator errors slurm progress secret config failure rundir data app analysis "
    "dashboard callback checkpoint companion report strategy",
    "arguments": "errors app checkpoint",
    "resimulation": "errors progress config metric data app",
    "answer": "progress rundir figure metric resimulation",
    "posterior": "errors progress rundir metric data app arguments resimulation answer",
    "commands": "errors archive progress config rundir checkpoint figure data app report run "
    "arguments",
    "sweep": "errors progress failure rundir figure report",
    "cli": "allocator errors slurm secret config resume failure rundir run commands posterior "
    "sweep",
    "__init__": "errors partition latent objective flow app checkpoint",
}
ONLY_IN = {
    "nflows": "flow",
    "pytorch_lightning": "app callback dashboard data progress run strategy",
    "matplotlib": "figure analysis callback",
    "sklearn": "metric score figure data analysis",
    "torchvision": "data commands",
    "fsspec": "data",
    "webdataset": "data",
    "hydra": "config resume failure commands cli",
    "omegaconf": "config resume failure rundir commands cli",
    "wandb": "dashboard",
    "pydantic": "config",
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
        ("flow", "import innflow.app.base"),
        ("flow", "from innflow import app"),
        ("data", "from innflow.partition import Partition"),
        ("score", "import torch\ndef late():\n    from innflow.data.base import PartsSet"),
        ("analysis", "from innflow.app import Application"),
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
