"""innflow-posterior: files, output and errors."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import train

import innflow
from innflow.errors import InnflowError
from innflow.metric.summary import find_densest
from innflow.problem import arm

NAMES = ["rail", "angle 1", "angle 2", "angle 3"]
FILES = [".lock", "config.yaml", "environment.json", "figures", "overrides.yaml"]
FILES += ["posterior.csv", "posterior.npz", "summary.csv", "summary.json"]
MODEL = """
from pathlib import Path
import torch
Path("was-imported").touch()
prior = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(4), 1.0), 1)
def simulate(x):
    return x[:, :2] + 100
"""


def read(path: str | Path) -> list[list[str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def numbers(rows: list[list[str]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def debris() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def with_data(run: Path, place: Path, **changes: Any) -> Path:
    """Copy the checkpoint of a run, its data node changed."""
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["innflow"]["config"]["data"].update(changes)
    torch.save(checkpoint, place)
    return place


@pytest.fixture
def observed() -> str:
    """Write one observation, its columns in another order and one to be ignored."""
    Path("obs.csv").write_text("when,end y,end x\nmonday,0.3,1.5\n")
    Path("truth.csv").write_text("rail,angle 1,angle 2,angle 3\n0.1,0.2,0.3,0.4\n")
    return "y=obs.csv"


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr("innflow.command.posterior.files.DRAWN", 0)


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory) -> Path:
    """A finished run on ten parameters and the noise of ten data."""
    run_dir = tmp_path_factory.mktemp("noisy") / "run"
    train(
        run_dir,
        *("data=gaussian_linear", "data.noise=0.5", "app=inverse", "partition=x_eps_yz"),
        *("latent=observed", "score=none", "analysis=none", "+debug=fdr", "model.depth=2"),
        *("data.n=300", "data.n_test=20", "data.batch_size=64", "data.cache_dir=null"),
    )
    return run_dir


def test_the_posterior_of_one_observation(command, inverse_run, observed):
    answer = command(
        "innflow-posterior",
        *(f"run={inverse_run}", observed, "n=300", "truth=truth.csv", "out=drawn", "seed=3"),
    )
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path("drawn").iterdir()) == FILES
    app = innflow.load(inverse_run)
    y = torch.tensor([1.5, 0.3])
    x = app.posterior(y, 300, seed=3).numpy()
    log_prob = app.log_prob(torch.from_numpy(x), y.expand(300, 2)).numpy()

    header, *rows = read("drawn/posterior.csv")
    assert header == NAMES
    assert np.array_equal(numbers(rows), x)
    with np.load("drawn/posterior.npz") as archive:
        assert sorted(archive) == ["log_prob", "names", "observables", "x", "y"]
        assert np.array_equal(archive["x"], x[None])
        assert np.array_equal(archive["y"], y.numpy()[None])
        assert archive["names"].tolist() == NAMES
        np.testing.assert_allclose(archive["log_prob"][0], log_prob, rtol=1e-4, atol=1e-4)

    header, *rows = read("drawn/summary.csv")
    levels = ["q2.5", "q16", "q50", "q84", "q97.5"]
    assert header == ["observation", "parameter", "mean", "sd", *levels, "map", "truth"]
    assert [row[:2] for row in rows] == [["0", name] for name in NAMES]
    expected = [x.mean(0), x.std(0), *np.quantile(x, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)]
    expected += [x[log_prob.argmax()], [0.1, 0.2, 0.3, 0.4]]
    np.testing.assert_allclose(numbers(rows_of(rows)).T, expected, rtol=1e-4, atol=1e-5)

    (checks,) = json.loads(Path("drawn/summary.json").read_text())["observations"]
    assert checks["misspecification_p"] == pytest.approx(float(app.misspecification_p(y)))
    end = resimulated(x)
    assert checks["resimulation"]["draws"] == 300
    error = np.square(end - y.numpy()).sum(axis=1).mean()
    assert checks["resimulation"]["error"] == pytest.approx(error, rel=1e-5)
    rms = np.sqrt(np.square(end - y.numpy()).mean(axis=0))
    assert checks["resimulation"]["rms"] == pytest.approx(
        {"end x": rms[0], "end y": rms[1]}, rel=1e-5
    )
    for name in ("pairs", "resimulation"):
        with Image.open(f"drawn/figures/{name}.png") as image:
            assert image.size[0] > 300
    assert yaml.safe_load(Path("drawn/config.yaml").read_text())["seed"] == 3
    assert "n=300" in yaml.safe_load(Path("drawn/overrides.yaml").read_text())

    first, left_out, *lines = answer.out.splitlines()
    assert first == "y=obs.csv: when ignored, the run has no such columns"
    assert left_out.startswith(f"local test of calibration left out: run={inverse_run} has no")
    assert lines[0].split() == [
        "observation",
        "0",
        "mean",
        "sd",
        "2.5%",
        "50%",
        "97.5%",
        "MAP",
        "truth",
    ]
    table = [line.split()[-7:] for line in lines[1:5]]
    shown = numbers([[row[i] for i in (2, 3, 4, 6, 8, 9, 10)] for row in rows])
    np.testing.assert_allclose(numbers(table), shown, rtol=1e-3)
    assert lines[5].startswith(
        f"misspecification p = {checks['misspecification_p']:.2g}, mean |f(x) - y|^2 ="
    )
    assert lines[6:] == [str(Path("drawn").absolute())]


def rows_of(rows: list[list[str]]) -> list[list[str]]:
    return [row[2:] for row in rows]


def resimulated(x: np.ndarray) -> np.ndarray:
    rail, angles = x[:, 0], x[:, 1:].cumsum(axis=1)
    across = np.cos(angles) @ [0.5, 0.5, 1.0]
    return np.stack([across, rail + np.sin(angles) @ [0.5, 0.5, 1.0]], axis=1)


def test_several_observations_go_into_the_run_by_default(command, inverse_run, monkeypatch):
    monkeypatch.setattr("innflow.command.posterior.files.DRAWN", 2)
    y = np.array([[1.5, 0.3], [1.2, -0.4], [50, 50], [1.7, 0], [1.6, 0.1]], dtype=np.float32)
    np.savez("obs.npz", data=y)
    answer = command("innflow-posterior", f"run={inverse_run}", "y=obs.npz", "n=40")
    assert answer.code == 0, answer.err
    out = Path(answer.out.splitlines()[-1])
    assert out.parent == inverse_run / "posterior"
    app = innflow.load(inverse_run)
    header, *rows = read(out / "posterior.csv")
    assert header == ["observation", *NAMES]
    assert [row[0] for row in rows] == [str(i) for i in range(5) for _ in range(40)]
    for i in range(5):
        drawn = numbers([row[1:] for row in rows if row[0] == str(i)])
        assert np.array_equal(drawn, app.posterior(torch.from_numpy(y[i]), 40, seed=i).numpy())
    assert len(read(out / "summary.csv")) == 1 + 5 * 4
    figures = {f"{kind}_{i}.png" for kind in ("pairs", "resimulation") for i in range(2)}
    assert {path.name for path in (out / "figures").iterdir()} == figures
    warnings = [line for line in answer.out.splitlines() if line.startswith("warning")]
    p = float(app.misspecification_p(torch.from_numpy(y[2])))
    assert warnings == [
        "warning: observation 2 is unlike all simulated data (misspecification p = "
        f"{p:.2g}): its posterior is an extrapolation"
    ]
    assert "y=obs.npz: data0, data1 taken by position as end x, end y" in answer.out


def test_many_strange_observations_are_counted(command, inverse_run, undrawn):
    Path("obs.csv").write_text("end x,end y\n" + "99,99\n" * 9)
    answer = command("innflow-posterior", f"run={inverse_run}", "y=obs.csv", "n=2", "out=drawn")
    assert answer.code == 0, answer.err
    warnings = [line for line in answer.out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 6
    assert warnings[-1] == "warning: 4 more warnings in summary.json"
    summary = json.loads(Path("drawn/summary.json").read_text())
    assert len(summary["warnings"]) == 9


def test_failed_tests_of_calibration_are_warnings(command, inverse_run, observed, undrawn):
    """Simulations of another forward model: the posterior is wrong at every observation."""
    run = Path("run")
    shutil.copytree(inverse_run, run)
    x = arm.prior.sample((100,))
    np.savez(run / "calibration.npz", x=x.numpy() / 5, y=arm.forward(x).numpy())
    (run / "metrics.json").write_text('{"posterior/sbc_p": 0.5, "posterior/tarp_p": 0.001}')
    answer = command("innflow-posterior", "run=run", observed, "n=5", "out=drawn")
    assert answer.code == 0, answer.err
    warnings = [line for line in answer.out.splitlines() if line.startswith("warning: ")]
    assert warnings[0] == "warning: the posterior is not calibrated: TARP p = 0.001"
    assert warnings[1].startswith("warning: observation 0: the posterior is not calibrated there: ")
    summary = json.loads(Path("drawn/summary.json").read_text())
    assert [f"warning: {line}" for line in summary["warnings"]] == warnings
    assert summary["observations"][0]["lc2st_p"] < 0.01


def test_noise_is_drawn_with_the_parameters(command, noisy_run):
    app = innflow.load(noisy_run)
    y = torch.full((10,), 0.2)
    Path("obs.csv").write_text(",".join(app.columns["y"]) + "\n" + ",".join(["0.2"] * 10) + "\n")
    answer = command("innflow-posterior", f"run={noisy_run}", "y=obs.csv", "n=50", "out=drawn")
    assert answer.code == 0, answer.err
    with np.load("drawn/posterior.npz") as archive:
        assert "log_prob" not in archive
        x, eps = archive["x"][0], archive["eps"][0]
    assert np.array_equal(x, app.posterior(y, 50, seed=0).numpy())
    assert np.array_equal(eps, app.posterior_noise(y, 50, seed=0).numpy())
    mode = numbers([row[-1:] for row in read("drawn/summary.csv")[1:]])[:, 0]
    np.testing.assert_allclose(mode, x[find_densest(x.astype(np.float64))], rtol=1e-5)
    figures = {path.name for path in Path("drawn/figures").iterdir()}
    assert figures == {"profile.png", "resimulation.png"}


def test_a_forward_model_of_ones_own_runs_only_where_it_is_trusted(
    command, inverse_run, observed, monkeypatch
):
    Path("planted.py").write_text(MODEL)
    own = {"prior": "planted.prior", "forward": "planted.simulate"}
    run = with_data(inverse_run, Path("own.ckpt"), **own)
    arguments = ("innflow-posterior", f"run={run}", observed, "n=50")
    answer = command(*arguments, "out=first")
    assert answer.code == 0, answer.err
    line = "resimulation left out: planted.simulate is code; trust=true runs it"
    assert line in answer.out.splitlines()
    assert not Path("was-imported").exists()
    assert "resimulation" not in Path("first/summary.json").read_text()
    assert [path.name for path in Path("first/figures").iterdir()] == ["pairs.png"]

    answer = command(*arguments, "out=second", "trust=true")
    assert answer.code == 0, answer.err
    assert "resimulation left out" not in answer.out
    (checks,) = json.loads(Path("second/summary.json").read_text())["observations"]
    assert checks["resimulation"]["rms"]["end x"] > 90
    assert read("second/posterior.csv") == read("first/posterior.csv")

    evaluated = command("innflow-eval", f"run={run}", "out=third")
    assert evaluated.code == 2
    assert "planted.simulate, which is code" in evaluated.err
    assert len(evaluated.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"forward": "nowhere.simulate"}, "there is no module nowhere"),
        ({"forward": "innflow.problem.arm.nothing"}, "has no attribute nothing"),
        ({"forward": "innflow.problem.slcp.forward"}, "from the prior at once"),
        ({"noise": 0.1}, "the run was trained on"),
    ],
)
def test_a_forward_model_that_is_no_more_is_left_out_with_a_line(
    changes, says, command, inverse_run, observed, undrawn
):
    run = with_data(inverse_run, Path("own.ckpt"), **changes)
    answer = command("innflow-posterior", f"run={run}", observed, "n=5", "trust=true", "out=drawn")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("resimulation left out")]
    assert says in line
    assert len(read("drawn/posterior.csv")) == 6


def test_pairs_have_no_forward_model_and_nothing_is_said(command, inverse_run, observed, undrawn):
    run = with_data(inverse_run, Path("pairs.ckpt"), _target_="innflow.data.Pairs", forward=None)
    answer = command("innflow-posterior", f"run={run}", observed, "n=5", "out=drawn")
    assert answer.code == 0, answer.err
    assert "resimulation" not in answer.out
    assert "resimulation" not in Path("drawn/summary.json").read_text()


LIKELIHOOD = """
import torch
def log_likelihood(y, x):
    from innflow.problem import arm
    return torch.distributions.Normal(arm.forward(x), 0.3).log_prob(y).sum(dim=1)
"""


def test_a_correction_weighs_the_draws_of_the_flow(command, inverse_run, observed, undrawn):
    Path("own_likelihood.py").write_text(LIKELIHOOD)
    run = with_data(inverse_run, Path("own.ckpt"), log_likelihood="own_likelihood.log_likelihood")
    arguments = ("innflow-posterior", f"run={run}", observed, "n=500", "correct=true", "seed=2")
    answer = command(*arguments, "proposals=5000", "out=drawn", "trust=true")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path("drawn").glob("p*")) == [
        "posterior.csv",
        "posterior.npz",
        "proposals.csv",
    ]
    header, *rows = read("drawn/proposals.csv")
    assert header == [*NAMES, "weight"]
    table = numbers(rows)
    assert table[:, -1].mean() == pytest.approx(1, abs=1e-4)
    app = innflow.load(run, trust=True)
    y = torch.tensor([1.5, 0.3])
    x = torch.from_numpy(table[:, :-1])
    assert torch.equal(x, app.posterior(y, 5000, seed=2))
    target = arm.prior.log_prob(x)
    target += torch.distributions.Normal(arm.forward(x), 0.3).log_prob(y).sum(dim=1)
    ratio = (target - app.log_prob(x, y.expand(5000, 2))).double()
    expected = torch.softmax(ratio, 0) * 5000
    np.testing.assert_allclose(table[:, -1], expected, rtol=1e-3, atol=1e-6)

    (checks,) = json.loads(Path("drawn/summary.json").read_text())["observations"]
    found = checks["correction"]
    effective = float(5000**2 / expected.square().sum())
    assert found["effective_sample_size"] == pytest.approx(effective, rel=1e-3)
    assert found["efficiency"] == pytest.approx(effective / 5000, rel=1e-3)
    evidence = float(ratio.logsumexp(0)) - math.log(5000)
    assert found["log_evidence"] == pytest.approx(evidence, abs=1e-3)
    with np.load("drawn/posterior.npz") as archive:
        weights, drawn, log_prob = archive["weights"], archive["x"][0], archive["log_prob"][0]
    np.testing.assert_allclose(weights[0] * 5000, table[:, -1], rtol=1e-4, atol=1e-6)
    assert numbers(read("drawn/posterior.csv")[1:]).shape == (500, 4)
    mean = (x * expected[:, None] / 5000).sum(dim=0)
    assert np.abs(drawn.mean(axis=0) - mean.numpy()).max() < 0.05
    assert len(np.unique(drawn, axis=0)) == found["distinct_draws"]
    mode = numbers([row[-1:] for row in read("drawn/summary.csv")[1:]])[:, 0]
    np.testing.assert_allclose(mode, drawn[log_prob.argmax()], rtol=1e-5)
    (line,) = [line for line in answer.out.splitlines() if line.startswith("corrected: ")]
    assert f"efficiency {effective / 5000:.1%}, Pareto k {found['pareto_k']:.2f}" in line


def test_a_correction_that_is_not_reliable_says_so(command, inverse_run, observed, undrawn):
    Path("sharp.py").write_text(LIKELIHOOD.replace("0.3", "1e-3"))
    run = with_data(inverse_run, Path("own.ckpt"), log_likelihood="sharp.log_likelihood")
    arguments = ("innflow-posterior", f"run={run}", observed, "n=200", "correct=true", "out=drawn")
    answer = command(*arguments, "trust=true")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("warning: obs")]
    assert line.startswith("warning: observation 0: the correction is not reliable (Pareto k ")
    assert "calibration" not in answer.out


@pytest.mark.parametrize(
    ("changes", "arguments", "says"),
    [
        ({}, "", "the data have no known likelihood: train with"),
        ({}, "proposals=150", "proposals=150: must be at least n=200"),
        ({"log_likelihood": "own.log_likelihood"}, "", "own.log_likelihood is code; trust=true"),
        ({"forward": "own.simulate"}, "", "own.simulate is code; trust=true runs it"),
    ],
)
def test_a_correction_that_is_impossible_is_refused(
    changes, arguments, says, command, inverse_run, observed
):
    likely = {"_target_": "innflow.data.Simulator", **changes}
    if arguments:
        likely["log_likelihood"] = "innflow.problem.two_moons.log_likelihood"
    run = with_data(inverse_run, Path("own.ckpt"), **likely)
    answer = command(
        *("innflow-posterior", f"run={run}", observed, "n=200", "correct=true", "out=drawn"),
        *arguments.split(),
    )
    assert answer.code == 2, answer
    (line,) = answer.err.splitlines()
    assert says in line
    assert not Path("drawn").exists()


def test_noise_with_the_parameters_cannot_be_corrected(command, noisy_run):
    app = innflow.load(noisy_run)
    Path("obs.csv").write_text(",".join(app.columns["y"]) + "\n" + ",".join(["0.2"] * 10) + "\n")
    answer = command("innflow-posterior", f"run={noisy_run}", "y=obs.csv", "n=50", "correct=true")
    assert answer.code == 2
    assert "the density of x alone has no closed form" in answer.err


@pytest.mark.parametrize("code", ["os.abort", "innflow.problem.arm.np.core", "innflow.data.cats"])
@pytest.mark.parametrize("key", ["prior", "forward", "noise", "reference", "log_likelihood"])
def test_no_other_code_counts_as_innflow_s_own(key, code, command, inverse_run, observed, undrawn):
    run = with_data(inverse_run, Path("planted.ckpt"), **{key: code})
    answer = command("innflow-posterior", f"run={run}", observed, "n=5", "out=drawn")
    assert answer.code == 0, answer.err
    assert f"resimulation left out: {code} is code; trust=true runs it" in answer.out


def test_nothing_else_in_a_data_node_is_built(command, inverse_run, observed):
    attack = {"_target_": "pathlib.Path.touch", "self": "was-run"}
    run = with_data(inverse_run, Path("planted.ckpt"), parameters=attack)
    answer = command("innflow-posterior", f"run={run}", observed, "n=5", "out=drawn")
    assert answer.code == 2
    assert "pathlib.Path.touch" in answer.err
    assert debris() == ["obs.csv", "planted.ckpt", "truth.csv"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("y=obs.csv n=0", "n=0: must be an integer from 1"),
        ("y=obs.csv n=many", "n=many"),
        ("y=obs.csv nn=3", "nn is unknown"),
        ("y=obs.csv trust=maybe", "trust=maybe: must be true or false"),
        ("y=obs.csv seed=-1", "seed=-1"),
        ("y=obs.csv correct=yes", "correct=yes: must be true or false"),
        ("y=obs.csv proposals=500", "proposals=500: is for correct=true"),
        ("y=obs.csv ckpt=worst", "ckpt=worst is unknown"),
        ("y=obs.csv device=abacus", "device=abacus"),
        ("n=3", "y=... is needed"),
        ("y=none.csv", "none.csv does not exist"),
        ("y=obs.txt", "expected a file of the kind"),
        ("y=wide.csv", "has the columns a, b, c, the run has end x, end y"),
        ("y=holes.csv", "holes.csv, line 3, column end y: '' is not a finite number"),
        ("y=nan.csv", "nan.csv, line 2, column end x: 'nan' is not a finite number"),
        ("y=obs.csv truth=none.csv", "none.csv does not exist"),
        ("y=obs.csv truth=wide.csv", "truth=wide.csv: has the columns a, b, c, the run has rail"),
        ("y=obs.csv truth=two.csv", "truth: 2 rows for 1 observations in y"),
        ("y=obs.csv out=full", "full: holds files already"),
        ("y=obs.csv out=obs.csv/there", "cannot be written"),
        ("y=obs.csv run=nowhere", "run=nowhere: does not exist"),
    ],
)
def test_a_mistake_is_answered_by_one_line(arguments, says, command, inverse_run, observed):
    tables = {"wide": "a,b,c\n1,2,3\n", "holes": "end x,end y\n1,2\n1,\n"}
    tables |= {"nan": "end x,end y\nnan,1\n", "two": ",".join(NAMES) + "\n1,2,3,4\n1,2,3,4\n"}
    for name, text in tables.items():
        Path(f"{name}.csv").write_text(text)
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    before = debris()
    answer = command("innflow-posterior", f"run={inverse_run}", *arguments.split())
    assert answer.code == 2, answer
    (line,) = answer.err.splitlines()
    assert line.startswith("innflow-posterior: error: ")
    assert says in line
    assert debris() == before


def test_a_run_without_a_posterior_is_refused(command, vector_run, observed):
    answer = command("innflow-posterior", f"run={vector_run}", observed)
    assert answer.code == 2
    assert answer.err.endswith("has no posterior, it is a Density; give a run with app=inverse\n")


@pytest.mark.parametrize("other", ["innflow-sample n=3", "innflow-score input=obs.csv"])
def test_other_commands_name_the_one_to_use(other, command, inverse_run, observed):
    name, argument = other.split()
    answer = command(name, f"run={inverse_run}", argument)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert f"innflow-posterior run={inverse_run} y=FILE" in line


def test_an_inverse_run_is_evaluated(command, inverse_run):
    answer = command("innflow-eval", f"run={inverse_run}", "data.n_test=50", "out=tested")
    assert answer.code == 0, answer.err
    assert Path("tested/report.html").is_file()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_cannot_be_finished_leaves_nothing(
    failure, command, inverse_run, observed, monkeypatch
):
    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr("innflow.command.posterior.command.write_figures", fail)
    before = debris()
    answer = command("innflow-posterior", f"run={inverse_run}", observed, "n=5", "out=drawn")
    assert answer.code in (2, 130)
    (line,) = answer.err.splitlines()
    assert "drawn: cannot be written (No space left on device)" in line or "interrupted" in line
    assert debris() == before


def test_draws_that_overflow_name_their_observation(command, inverse_run, monkeypatch):
    def fail(*_: Any) -> None:
        raise InnflowError("posterior: 3 of 5 draws are not finite")

    monkeypatch.setattr("innflow.app.Inverse.posterior", fail)
    Path("obs.csv").write_text("end x,end y\n1,0\n")
    answer = command("innflow-posterior", f"run={inverse_run}", "y=obs.csv", "n=5", "out=drawn")
    assert answer.err.endswith("observation 0: posterior: 3 of 5 draws are not finite\n")


def test_help_shows_every_key(command):
    answer = command("innflow-posterior", "--help")
    assert answer.code == 0
    for word in ("innflow-posterior run=DIR y=obs.csv", "run: ???", "truth: null", "MAP"):
        assert word in answer.out


def test_the_same_from_python(inverse_run):
    app = innflow.load(inverse_run)
    y = torch.tensor([[1.5, 0.3], [1.2, -0.4]])
    assert app.posterior(y[0], 7).shape == (7, 4)
    assert app.posterior(y, 7).shape == (2, 7, 4)
    again = app.posterior(y[0], 7, seed=1)
    assert torch.equal(app.posterior(y[0], 7, seed=1), again)
    assert not torch.equal(app.posterior(y[1], 7, seed=1), again)
