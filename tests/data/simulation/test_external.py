"""Forward models that are programs: their command line, failures, seeds, and how they continue."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from innflow.config.trust import foreign_code
from innflow.data import Simulator
from innflow.data.simulation import simulate as runs

PROGRAM = """
import random, sys
a, b, seed = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
with open("calls.txt", "a") as file:
    print(a, b, file=file)
if a > FAILS:
    sys.exit("a is too large")
print(a + b, a * b, sep=", ")
print(random.Random(seed).random())
"""
BOUNDS = {"a": [0.0, 1.0], "b": [-1.0, 1.0]}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return `program(fails)`: the command of a program that fails for a above a limit."""
    monkeypatch.chdir(tmp_path)

    def write(fails: float = 2.0) -> str:
        Path("sim.py").write_text(PROGRAM.replace("FAILS", str(fails)))
        return f"{sys.executable} -S -E sim.py {{a}} {{b}} {{seed}}"

    return write


def make(command: str, **options) -> Simulator:
    settings = {"n": 12, "n_test": 3, "processes": 1, **options}
    return Simulator(BOUNDS, command=command, **settings)


def test_the_numbers_that_it_prints_are_the_data(program):
    data = make(program())
    assert data.columns == {"x": ["a", "b"], "y": ["y0", "y1", "y2"]}
    parts = data.sets()["train"].parts
    a, b = parts["x"].T
    torch.testing.assert_close(parts["y"][:, 0], a + b)
    torch.testing.assert_close(parts["y"][:, 1], a * b)
    assert len(parts["y"][:, 2].unique()) == len(a)
    assert not data.deterministic
    torch.testing.assert_close(make(program()).sets()["train"].parts["y"], parts["y"])


def test_failures_are_counted_and_left_out(program, capsys, refused):
    data = make(program(0.8), failures=0.9)
    rows = sum(len(data.sets()[name]) for name in ("train", "val"))
    assert 0 < rows < 12
    assert float(data.sets()["train"].parts["x"][:, 0].max()) <= 0.8
    assert f"{12 - rows} of 12 simulations are not finite" in capsys.readouterr().out
    with refused("data.command=", "are not finite", "the first is x ="):
        make(program(0.8)).sets()


def test_a_program_that_does_not_run_is_refused_with_its_message(program, refused):
    with refused("data.command=", "exited with 1 (a is too large)"):
        make(program(-1.0))
    with refused("data.command=./nothing {a}", "./nothing", "No such file"):
        make("./nothing {a}")
    with refused("{c} is no parameter: use {a}, {b} or {seed}"):
        make("./sim {c}")
    with refused("prints other words than numbers"):
        make("echo a{a}")
    with refused("data.forward, data.command: give one"):
        make("echo {a}", forward="innflow.problem.two_moons.forward")


def test_a_parameter_is_one_word_whatever_it_is(program):
    """No shell reads the command."""
    data = make(program() + " ; touch here '$HOME'")
    assert data.simulate(torch.tensor([[0.5, 0.25]]), 0)[0, 0] == 0.75
    assert not Path("here").exists()


def test_a_stopped_simulation_continues(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "_KEEP_AFTER", 0.0)
    whole = make(program()).sets()["train"].parts["y"]
    write, kept = runs.write_arrays, []

    def stop(path: Path, arrays: dict[str, np.ndarray]) -> None:
        write(path, arrays)
        kept.append(path)
        if len(kept) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_arrays", stop)
    with pytest.raises(KeyboardInterrupt):
        make(program(), cache_dir=tmp_path / "cache").sets()
    monkeypatch.setattr(runs, "write_arrays", write)
    data = make(program(), cache_dir=tmp_path / "cache")
    before = len(Path("calls.txt").read_text().splitlines())
    torch.testing.assert_close(data.sets()["train"].parts["y"], whole)
    assert len(Path("calls.txt").read_text().splitlines()) - before <= 12 - 5 + 3 + 32
    assert "5 simulations from" in capsys.readouterr().out
    assert not list((tmp_path / "cache").glob("*.parts"))


def test_a_changed_program_is_run_again(program, tmp_path):
    first = make(program(), cache_dir=tmp_path / "cache").sets()["train"].parts["y"]
    program()
    Path("sim.py").write_text(Path("sim.py").read_text().replace("a + b", "a - b"))
    command = f"{sys.executable} -S -E sim.py {{a}} {{b}} {{seed}}"
    again = make(command, cache_dir=tmp_path / "cache").sets()["train"].parts["y"]
    assert not torch.equal(first, again)


def test_trials_of_a_program(program):
    data = make(program(), trials=2)
    y = data.simulate(torch.tensor([[0.5, 0.25]]), 0).reshape(2, 3)
    torch.testing.assert_close(y[:, 0], torch.full((2,), 0.75))
    assert y[0, 2] != y[1, 2]


def test_a_command_is_code():
    assert foreign_code({"command": "rm {a}"}) == "rm {a}"
