from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import TINY_MOONS
from torch import nn

import innflow
from innflow.config.sizes import check_sizes
from innflow.data.toy.clouds import Toy
from innflow.run.load import assemble
from innflow.system import memory
from innflow.system.memory import Allocations, require_memory, total_memory


def test_a_size_beyond_the_memory_is_refused_with_what_is_needed_and_there(refused, monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 8_000_000_000)
    require_memory("n=3", 8e9)
    with refused("n=3: needs at least 9 GB of memory, this machine has 8 GB"):
        require_memory("n=3", 9e9)


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    monkeypatch.setattr(memory, "_LIMITS", (str(limit),))
    whole = total_memory()
    limit.write_text("1000000\n")
    assert total_memory() == 1_000_000 < whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.depth", 10**9),
        ("model.depth", 10**12),
        ("model.levels", 10**12),
        ("model.hidden[1]", 10**12),
        ("model.subnet.layers", 10**10),
        ("data.n", 10**15),
        ("data.batch_size", 10**12),
        ("data.workers", 10**6),
        ("analysis.density.samples", 10**13),
        ("score.scores.neighbours.k", 10**13),
    ],
)
def test_a_number_of_things_that_cannot_fit_is_named(key, value, refused):
    config = {"data": {"seed": 2**63}, "trainer": {"max_steps": 10**15}, "model": {"depth": 8}}
    check_sizes(config)
    *parents, last = key.partition("[")[0].split(".")
    node = config
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = [8, value] if "[" in key else value
    with refused(f"{key}={value}: needs at least"):
        check_sizes(config)


def test_a_tensor_that_cannot_fit_is_not_allocated(config, refused):
    with refused("layer: needs at least"), Allocations("layer"):
        nn.Linear(10**7, 10**7)
    config["model"]["hidden"] = [10**6, 10**7]
    with refused("model.hidden[1]=10000000: needs at least 40 TB"):
        assemble(config, {"x": (2,)})
    with refused("model."):
        assemble({**config, "model": {**config["model"], "hidden": [8]}}, {"x": (10**12,)})


def test_points_that_cannot_fit_are_not_drawn(refused):
    n = total_memory() // 5
    with refused(f"data.n={n}: needs at least"):
        Toy("moons", n=n)


@pytest.mark.parametrize("override", ["model.depth=1000000000000", "data.n=1000000000000000"])
def test_a_command_refuses_a_size_at_once(override, command):
    answer = command("innflow-train", *TINY_MOONS, override, "run_dir=run")
    assert answer.code == 2
    assert f"error: {override}: needs at least" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("run").exists()


def test_commands_on_a_run_refuse_sizes(command, vector_run, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 8_000_000_000)
    answer = command("innflow-sample", f"run={vector_run}", "n=4000000000")
    assert "error: n=4000000000: needs at least 32 GB" in answer.err
    checkpoint = torch.load(vector_run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["innflow"]["config"]["model"]["depth"] = 10**9
    torch.save(checkpoint, tmp_path / "deep.ckpt")
    with refused(str(tmp_path / "deep.ckpt"), "model.depth=1000000000: needs at least 20 TB"):
        innflow.load(tmp_path / "deep.ckpt")
