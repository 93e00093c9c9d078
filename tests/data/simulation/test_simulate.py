from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import torch

import innflow.data.simulation.isolate
import innflow.data.simulation.simulate
from data.own import write_module
from innflow.data.simulation.forward import ForwardModel
from innflow.data.simulation.simulate import (
    Simulations,
    cache_key,
    read_simulations,
    simulate,
    write_simulations,
)
from innflow.errors import InnflowError

SOURCE = """
import os
import signal
import sys
import numpy as np
import torch
rng = np.random.default_rng(0)
def noisy(x):
    sources = [rng.standard_normal(len(x)), np.random.rand(len(x)), torch.rand(len(x)).numpy()]
    return np.column_stack([x[:, 0], np.stack(sources, axis=1)])
def holes(x): return np.where(x > 0.005, x, np.nan)
def steep(x):
    if (x[:, 0] > 0.99).any(): raise ZeroDivisionError("steep")
    return x
def changing(x): return x if (x[:, 0] < 0.99).all() else x[:, :1]
def ends(x, how):
    if (x[:, 0] > 0.998).any(): how()
    return x
def leaves(x): return ends(x, lambda: sys.exit("enough"))
def exits(x): return ends(x, lambda: os._exit(3))
def kills(x): return ends(x, lambda: os.kill(os.getpid(), signal.SIGKILL))
def hangs(x):
    if (x[:, 0] > 0.99915).any(): signal.pause()
    return x
def dies(x): os._exit(1)
"""
X = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, SOURCE, "simulated")

    def make(name: str) -> ForwardModel:
        return ForwardModel(f"simulated.{name}", torch.full((4, 2), 0.5))

    return make


@pytest.mark.extended
def test_results_and_failures_are_the_same_in_worker_processes(model, monkeypatch, capsys):
    here = simulate(model("noisy"), X, [7], processes=0)
    assert torch.equal(here, simulate(model("noisy"), X, [7]))
    monkeypatch.setattr(innflow.data.simulation.simulate, "_WORTH_WORKERS", 0.0)
    assert capsys.readouterr().out == ""
    assert torch.equal(here, simulate(model("noisy"), X, [7], processes=2))
    assert re.match(r"simulating simulated\.noisy: about \d+ s on 2 ", capsys.readouterr().out)
    for column in here[:, 1:].T:
        assert len(column.unique()) > 990  # no chunk repeats the noise of another
    with pytest.raises(InnflowError) as caught:
        simulate(model("steep"), X, [7], processes=0)
    with pytest.raises(
        InnflowError, match=r"steep: it raises ZeroDivisionError: steep, at x = \[0\.99"
    ):
        simulate(model("steep"), X, [7], processes=2)
    row = X[(X[:, 0] > 0.99).nonzero()[0]][0]
    assert f"{row[0]:.7g}, {row[1]:.7g}" in str(caught.value)


@pytest.fixture
def copies(monkeypatch) -> None:
    """Run models in copies of the process, although other tests may have imported Numba."""
    monkeypatch.setattr(innflow.data.simulation.isolate, "_UNFORKABLE", ())


@pytest.mark.representatives("exits*")
@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("leaves", "exited (1)"),
        ("exits", "exited (3)"),
        ("kills", "was killed by SIGKILL"),
        ("hangs", "did not return"),
    ],
)
def test_a_simulation_that_ends_its_process_is_one_failed_simulation(
    name, end, model, monkeypatch, capsys
):
    monkeypatch.setattr(innflow.data.simulation.isolate, "_PATIENCE", 1.0)
    monkeypatch.setattr(innflow.data.simulation.isolate, "_SLOWER", 0.0)
    bad = X[:, 0] > (0.99915 if name == "hangs" else 0.998)
    y = simulate(model(name), X, [7], processes=2)
    assert torch.equal(y.isnan().all(dim=1), bad)
    assert torch.equal(y[~bad], X[~bad])
    first, count = X[bad][0], int(bad.sum())
    assert capsys.readouterr().out == (
        f"data.forward=simulated.{name}: simulations that failed are NaN; of {count} the process "
        f"ended or hung: it {end} at x = [{first[0]:.7g}, {first[1]:.7g}]\n"
    )
    if name == "exits":
        with pytest.raises(InnflowError, match=r"not finite.*of 1 the process.*exited \(3\)"):
            simulate(model(name), X, [7], allowed=0.0005)


@pytest.mark.usefixtures("copies")
def test_a_model_that_always_ends_its_process_is_refused(model):
    with pytest.raises(InnflowError, match=r"given 3 draws.*it exited \(1\)$"):
        model("dies")


@pytest.mark.slow
def test_without_a_copy_of_this_process_a_worker_that_dies_is_reported(model, monkeypatch):
    monkeypatch.setattr(innflow.data.simulation.simulate, "_WORTH_WORKERS", 0.0)
    monkeypatch.setattr(innflow.data.simulation.simulate, "can_isolate", lambda: False)
    assert torch.equal(simulate(model("steep"), X * 0.9, [7], processes=2), X * 0.9)
    x = X * 0.9
    x[-1] = 1.0
    with pytest.raises(InnflowError, match=r"exits: killed its worker process.*data\.processes"):
        simulate(model("exits"), x, [7], processes=2)


def test_noise_differs_between_seeds_and_leaves_the_generators_alone(model):
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    noisy = model("noisy")
    one, two = (simulate(noisy, X, [seed], processes=0) for seed in (1, 2))
    assert torch.equal(one[:, 0], two[:, 0])
    assert not (one[:, 1:] == two[:, 1:]).all(dim=0).any()
    assert (torch.rand(1), np.random.rand()) == expected


def test_rows_that_are_not_finite_are_kept_up_to_what_is_allowed(model):
    holes = int((X <= 0.005).any(dim=1).sum())
    assert 5 < holes <= 20
    y = simulate(model("holes"), X, [0], allowed=1.0)
    assert int((~y.isfinite()).any(dim=1).sum()) == holes
    first = X[(X <= 0.005).any(dim=1).nonzero()[0]][0]
    with pytest.raises(InnflowError, match=r"6 of the first 490 simulations are not finite"):
        simulate(model("holes"), X, [0], allowed=0.004)
    with pytest.raises(InnflowError, match=rf"the first is x = \[{first[0]:.7g}, {first[1]:.7g}\]"):
        simulate(model("holes"), X, [0], allowed=0.004)


def test_a_changed_number_of_observables_stops(model):
    with pytest.raises(InnflowError, match="returns 1 observables, after 2 for the first rows"):
        simulate(model("changing"), X, [0])


def test_a_cache_gives_back_what_was_written(tmp_path, capsys, caplog):
    file = tmp_path / "deep" / "key.npz"
    assert read_simulations(file) is None
    write_simulations(file, Simulations(X, 2 * X, 3))
    assert list(file.parent.iterdir()) == [file]
    found = read_simulations(file)
    assert torch.equal(found.x, X)
    assert torch.equal(found.y, 2 * X)
    assert found.dropped == 3
    assert capsys.readouterr().out == f"1,000 simulations from {file}\n"
    whole = file.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    for damaged in (whole[:-100], bytes(broken), b"", b"no archive"):
        file.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            assert read_simulations(file) is None
        assert f"the cache {file} is damaged" in caplog.messages.pop()


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InnflowError, match=r"cannot write the cache .*set data\.cache_dir"):
        write_simulations(tmp_path / "file" / "key.npz", Simulations(X, X, 0))


def test_the_key_of_a_cache_knows_source_and_facts(model, tmp_path):
    modules = model("noisy").imported.modules
    keys = {
        cache_key(modules, 10, [0]),
        cache_key(modules, 10, [1]),
        cache_key(modules, 10, [0], X),
        cache_key(modules, 10, [0], X + 1),
        cache_key([], 10, [0]),
    }
    assert len(keys) == 5
    assert cache_key(modules, 10, [0]) in keys
    (tmp_path / "simulated.py").write_text(SOURCE + "\n")
    assert cache_key(modules, 10, [0]) not in keys
