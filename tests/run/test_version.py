"""Files of another version of innflow are refused in one line that says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import TINY_MOONS

import innflow
from innflow.run.checkpoint import find_checkpoint

MESSAGE = ("written by another version", "train the run again")
OLD_TARGETS = {
    "data": "innflow.data.simulator.Simulator",
    "objective": "innflow.terms.nll",
    "latent.z": "innflow.latent.density.StandardNormal",
    "callbacks.last": "innflow.callback.last_checkpoint.LastCheckpoint",
    "analysis.new": "innflow.analysis.nothing",
}


@pytest.fixture
def old(vector_run, tmp_path) -> Path:
    """Return a copy of a finished run, to be made one of another version."""
    return Path(shutil.copytree(vector_run, tmp_path / "old"))


def write_format(run: Path, number: int) -> None:
    """Change the format of all checkpoints of a run."""
    for path in (run / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["innflow"]["format"] = number
        torch.save(checkpoint, path)


@pytest.mark.parametrize("number", [1, 3])
def test_load_refuses_a_checkpoint(number, old, refused):
    write_format(old, number)
    for source in (old, find_checkpoint(old)):
        with refused(str(find_checkpoint(old)), f"format {number}", *MESSAGE):
            innflow.load(source)


@pytest.mark.parametrize("name", ["innflow-eval", "innflow-sample"])
def test_commands_on_a_run_refuse_its_checkpoint(name, old, command):
    write_format(old, 1)
    answer = command(name, f"run={old}")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1, answer.err
    assert all(part in answer.err for part in MESSAGE)


@pytest.mark.parametrize("key", ["init", "companions.general", "ckpt"])
def test_training_refuses_a_checkpoint(key, old, command):
    write_format(old, 1)
    given = [f"run_dir={old}", "ckpt=last"] if key == "ckpt" else [f"{key}={old}", "run_dir=new"]
    answer = command("innflow-train", *TINY_MOONS, *given)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1, answer.err
    assert all(part in answer.err for part in MESSAGE)
    assert not Path("new").exists()


@pytest.mark.parametrize("key", OLD_TARGETS)
def test_resuming_refuses_a_config_of_old_names(key, old, command):
    path = old / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    node = config
    for name in parents:
        node = node[name]
    node[last] = {**(node.get(last) or {}), "_target_": OLD_TARGETS[key]}
    path.write_text(yaml.safe_dump(config))
    before = sorted(each.name for each in old.rglob("*"))
    answer = command("innflow-train", f"run_dir={old}", "ckpt=last")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1, answer.err
    assert all(part in answer.err for part in (*MESSAGE, str(old), OLD_TARGETS[key]))
    assert sorted(each.name for each in old.rglob("*")) == before


def test_old_scores_are_refused(old, refused, command):
    path = old / "scores.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "format": np.array("innflow scorer 2")})
    with refused(str(path), *MESSAGE):
        innflow.load(old)
    answer = command("innflow-eval", f"run={old}")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1, answer.err
