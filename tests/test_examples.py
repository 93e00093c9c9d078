"""The example folders run as their pages say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = ("trainer.max_steps=20", "trainer.val_check_interval=10", "study.quick=true")


@pytest.fixture
def own(command, monkeypatch, tmp_path) -> Path:
    """Return a copy of the example of own parts, which is the current folder."""
    folder = tmp_path / "own_parts"
    shutil.copytree(EXAMPLES / "own_parts", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def test_own_parts_are_trained_and_loaded_again(own, command):
    arguments = ("--config-dir", str(own / "conf"), "+experiment=spiral", "run_dir=run")
    answer = command("innflow-train", *arguments, *SHORT)
    assert answer.code == 0, answer.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert {"latent/norm", "ood/radius/line/auroc", "test/nll"} <= metrics.keys()
    assert "val/logabsdet" in Path("run/metrics.csv").read_text()
    np.savetxt("points.csv", np.eye(2), delimiter=",", header="x0,x1", comments="")
    refused = command("innflow-score", "run=run", "input=points.csv")
    assert refused.code == 2
    assert "own.waves" in refused.err or "own.W" in refused.err
    answer = command("innflow-score", "run=run", "input=points.csv", "trust=true")
    assert answer.code == 0, answer.err
    header, *rows = answer.out.splitlines()
    assert "radius" in header.split(",")
    assert len(rows) == 2


@pytest.mark.extended
def test_a_new_folder_runs_as_it_is(command, monkeypatch):
    answer = command("innflow-new", "rings")
    assert answer.code == 0, answer.err
    made = Path("rings").absolute()
    assert answer.out.splitlines()[-1] == str(made)
    assert {path.name for path in made.iterdir()} == {"README.md", "conf", "own.py", "test_own.py"}
    experiment = (made / "conf/experiment/rings.yaml").read_text()
    assert "name: rings" in experiment
    assert "+experiment=rings" in experiment
    again = command("innflow-new", "rings")
    assert (again.code, "rings: exists already" in again.err) == (2, True)
    assert command("innflow-new", "2 rings").code == 2
    assert not list(Path.cwd().glob(".partial-*"))
    monkeypatch.chdir(made)
    arguments = ("--config-dir", str(made / "conf"), "+experiment=rings", "run_dir=run")
    answer = command("innflow-train", *arguments, *SHORT, "analysis=none")
    assert answer.code == 0, answer.err
    assert pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(made), str(made)]) == 0


def test_an_own_network_fits_a_model_of_innflow(own, command):
    arguments = ("--config-dir", str(own / "conf"), "+experiment=moons", "run_dir=run", *SHORT)
    answer = command("innflow-train", *arguments, "subnet@model.subnet=wave", "analysis=none")
    assert answer.code == 0, answer.err
