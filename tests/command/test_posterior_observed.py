"""innflow-posterior and innflow-compare on data with missing values and with trials."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import train

from innflow.command.posterior.files import Posteriors

QUICK = (
    *("app=inverse", "partition=given_y", "latent=observed", "score=none", "analysis=posterior"),
    *("+debug=fdr", "model.depth=2", "data.n=400", "data.n_test=100", "data.batch_size=64"),
    "data.cache_dir=null",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Runs with all analyses of posteriors: data with missing values, and trials."""
    folder = tmp_path_factory.mktemp("observed")
    train(folder / "missing", "data=gaussian_linear", "data.missing=0.3", *QUICK)
    train(folder / "trials", "data=normal", "data.trials=[1,4]", *QUICK)
    return {name: folder / name for name in ("missing", "trials")}


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr("innflow.command.posterior.files.DRAWN", 0)


@pytest.mark.extended
@pytest.mark.parametrize("name", ["missing", "trials"])
def test_every_analysis_takes_what_is_missing(runs, name):
    metrics = json.loads((runs[name] / "metrics.json").read_text())
    for key in ("c2st", "err_resim_median", "nltp", "sbc_p", "tarp_p", "lc2st_p"):
        assert np.isfinite(metrics[f"posterior/{key}"]), key
    assert np.isfinite(metrics["latent/independence_p"])


def test_blank_cells_are_missing_values(command, runs):
    names = [f"y {i}" for i in range(1, 11)]
    Path("obs.csv").write_text(f"{','.join(names)}\n0.1,,0.3,nan,,,,0.2,1,1\n")
    answer = command("innflow-posterior", f"run={runs['missing']}", "y=obs.csv", "n=50", "out=a")
    assert answer.code == 0, answer.err
    with np.load("a/posterior.npz") as archive:
        assert archive["x"].shape == (1, 50, 10)
        assert np.isnan(archive["y"]).sum() == 5
    assert "L-C2ST" not in answer.err
    assert list(Path("a/figures").glob("resimulation*"))


def test_a_posterior_of_trials_is_corrected(command, runs, undrawn):
    """The rows of a table with the columns of one trial are the trials of one observation."""
    Path("obs.csv").write_text("y\n0.4\n0.9\n")
    arguments = (f"run={runs['trials']}", "n=50", "correct=true")
    answer = command("innflow-posterior", "y=obs.csv", "out=a", *arguments)
    assert answer.code == 0, answer.err
    Path("row.csv").write_text("y 1,y 2,y 3,y 4\n0.4,0.9,,\n")
    answer = command("innflow-posterior", "y=row.csv", "out=b", *arguments)
    assert answer.code == 0, answer.err
    drawn = [Path(name, "posterior.csv").read_text() for name in "ab"]
    assert drawn[0] == drawn[1]
    Path("obs.csv").write_text("y\n" + "0.4\n" * 5)
    answer = command("innflow-posterior", "y=obs.csv", "out=c", *arguments)
    assert "has 5 trials, the run was trained on 4" in answer.err


def test_runs_on_trials_are_compared(command, runs):
    Path("obs.csv").write_text("y\n0.4\n0.9\n")
    runs_ = f"runs=[{runs['trials']},{runs['trials']}]"
    answer = command("innflow-compare", runs_, "y=obs.csv", "proposals=500")
    assert answer.code == 0, answer.err


def test_a_run_on_complete_data_takes_no_blank_cells(command, inverse_run):
    Path("obs.csv").write_text("end x,end y\n0.3,\n")
    answer = command("innflow-posterior", f"run={inverse_run}", "y=obs.csv", "n=5", "out=a")
    assert "column end y: '' is not a finite number" in answer.err


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.extended
def test_draws_are_inference_data_of_arviz(command, runs, undrawn, count):
    arviz = pytest.importorskip("arviz")
    names = [f"y {i}" for i in range(1, 11)]
    Path("obs.csv").write_text(f"{','.join(names)}\n" + "0.1,,0.3,0,0,0,0,0.2,1,1\n" * count)
    run = f"run={runs['missing']}"
    answer = command("innflow-posterior", run, "y=obs.csv", "n=30", "out=a", "arviz=true")
    assert answer.code == 0, answer.err
    tree = arviz.from_netcdf("a/posterior.nc")
    with np.load("a/posterior.npz") as archive:
        x, log_prob, y = archive["x"], archive["log_prob"], archive["y"]
    several = count > 1
    found = tree["posterior"]["theta 3"]
    assert found.dims == ("chain", "draw", *["observation"] * several)
    expected = x[:, :, 2].T if several else x[0, :, 2]
    np.testing.assert_array_equal(found.values[0], expected)
    stats = tree["sample_stats"]["lp"].values[0]
    np.testing.assert_array_equal(stats, log_prob.T if several else log_prob[0])
    observed = tree["observed_data"]["y"]
    np.testing.assert_array_equal(observed.values, y if several else y[0])
    assert observed.coords["observable"].values.tolist() == names
    assert list(arviz.summary(tree).columns)


def test_the_call_of_arviz_1(monkeypatch):
    """Version 1 takes all groups as one mapping."""
    from innflow.command.posterior import arviz as inference_data

    called = []
    fake = SimpleNamespace(
        __version__="1.2.0", from_dict=lambda *args, **options: called.append((args, options))
    )
    monkeypatch.setattr(inference_data, "require_arviz", lambda: fake)
    parts = {name: None for name in Posteriors.__dataclass_fields__}
    parts |= {"parameters": ["a"], "observables": ["b"], "x": np.ones((1, 4, 1))}
    inference_data.to_inference_data(Posteriors(**{**parts, "y": np.zeros((1, 1))}))
    ((groups,), options) = called[0]
    assert set(groups) == {"posterior", "observed_data"}
    assert groups["posterior"]["a"].shape == (1, 4)
    assert options["dims"]["y"] == ["observable"]


def test_without_arviz_the_command_says_what_to_install(command, runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    Path("obs.csv").write_text("y\n0.4\n")
    answer = command("innflow-posterior", f"run={runs['trials']}", "y=obs.csv", "arviz=true")
    assert "pip install 'innflow[arviz]'" in answer.err
