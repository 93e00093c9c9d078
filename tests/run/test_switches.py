"""compile=true, reversible=true and precision give the same run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import train as train_here

from innflow.run.checkpoint import read_checkpoint

COMMAND = Path(sys.executable).parent / "innflow-train"
TINY = ("+experiment=moons", "data.n=300", "data.n_test=40", "data.batch_size=64", "model.depth=2")
TINY += ("model.hidden=[8]", "trainer.max_time=null", "trainer.max_steps=6", "analysis=none")
TINY += ("trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "seed=3")


def train(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *TINY, *words, f"run_dir={folder}"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=folder.parent,
        check=False,
    )


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    train_here(folder, *TINY)
    return folder


def test_a_reversible_run_learns_the_same(plain, tmp_path):
    train_here(tmp_path / "run", *TINY, "reversible=true")
    assert losses(tmp_path / "run") == pytest.approx(losses(plain), rel=1e-4)
    states = [
        read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
        for folder in (plain, tmp_path / "run")
    ]
    torch.testing.assert_close(states[1], states[0], rtol=1e-3, atol=1e-4)


@pytest.mark.extended
def test_without_a_compiler_training_continues_after_one_line(plain, tmp_path):
    done = train(tmp_path / "run", "compile=true", CXX="no-such-compiler")
    assert done.returncode == 0, done.stderr
    said = [line for line in (done.stdout + done.stderr).splitlines() if "compile=true:" in line]
    assert len(said) == 1
    assert "no-such-compiler" in said[0]
    assert "continues without" in said[0]
    assert losses(tmp_path / "run") == pytest.approx(losses(plain), rel=1e-5)


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(plain, tmp_path):
    done = train(tmp_path / "run", "compile=true")
    assert done.returncode == 0, done.stderr
    assert "compile=true:" not in done.stdout + done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(plain), rel=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compile=true", "reversible=true"), "compile=true with reversible=true"),
        (("compile=perhaps",), "compile=perhaps"),
        (("precision=16",), "precision=16"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(words, says, command, tmp_path):
    done = command("innflow-train", *TINY, *words, f"run_dir={tmp_path / 'run'}")
    assert done.code != 0
    assert done.err.strip().count("\n") == 0
    assert says in done.err
    assert not (tmp_path / "run").exists()
