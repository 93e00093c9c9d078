"""innflow-compare: evidence of linear Gaussian models, and a classifier without likelihoods."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tiny import train

from innflow.problem import traveltime

TINY = (
    *("data=traveltime", "app=inverse", "partition=given_y", "model=vector", "latent=observed"),
    *("score=none", "analysis=none", "+debug=fdr", "model.depth=2", "data.n=4000"),
    *("data.n_test=20", "data.batch_size=256", "data.cache_dir=null", "optimizer.lr=1e-5"),
)
NOISE = {"quiet": 1.0, "loud": 2.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Runs on one problem with two standard deviations of the noise."""
    folder = tmp_path_factory.mktemp("models")
    for name, noise in NOISE.items():
        train(folder / name, *TINY, f"data.noise={noise}")
    return {name: folder / name for name in NOISE}


def write_observations(y: np.ndarray) -> None:
    names = ",".join(traveltime.OBSERVABLES)
    np.savetxt("obs.csv", y, delimiter=",", header=names, comments="")


def test_bayes_factors_of_linear_gaussian_models_are_exact(command, runs):
    model = traveltime.MODEL
    centre, spread = model.matrix @ model.mean, model.matrix @ model.covariance @ model.matrix.T
    rng = np.random.default_rng(0)
    exact = [stats.multivariate_normal(centre, spread + s**2 * np.eye(16)) for s in NOISE.values()]
    y = np.stack([law.rvs(random_state=rng) for law in exact])
    write_observations(y)
    arguments = (f"runs=[{runs['quiet']},{runs['loud']}]", "y=obs.csv", "proposals=10000")
    answer = command("innflow-compare", *arguments, "out=found.json")
    assert answer.code == 0, answer.err
    found = json.loads(Path("found.json").read_text())
    expected = np.stack([law.logpdf(y) for law in exact], axis=1)
    assert np.abs(np.array(found["log_evidence"]) - expected).max() < 0.1
    factor = expected[:, 1] - expected[:, 0]
    assert np.abs(np.array(found["log_bayes_factor"])[:, 1] - factor).max() < 0.1
    probability = np.array(found["probability"])
    assert probability[:, 1] == pytest.approx(1 / (1 + np.exp(-factor)), abs=0.03)
    assert "warning" not in answer.out
    assert [line for line in answer.out.splitlines() if line.startswith("observation 1")]


@pytest.mark.extended
def test_without_likelihoods_a_classifier_compares(command, inverse_run):
    rng = np.random.default_rng(0)
    for name, shift in {"near": 0.0, "far": 2.0}.items():
        shutil.copytree(inverse_run, name)
        y = rng.standard_normal((400, 2)).astype(np.float32) + np.float32(shift)
        np.savez(f"{name}/calibration.npz", x=np.zeros((400, 4), np.float32), y=y)
    Path("obs.csv").write_text("end x,end y\n0,0\n1.9,2.1\n99,99\n")
    answer = command("innflow-compare", "runs=[near,far]", "y=obs.csv", "out=found.json")
    assert answer.code == 0, answer.err
    found = json.loads(Path("found.json").read_text())
    probability = np.array(found["probability"])
    # log Bayes factor of the two normal laws: 4 - 2 (y0 + y1)
    assert probability[0, 0] > 0.9
    assert probability[1, 1] > 0.9
    assert found["ece"] < 0.1
    lines = answer.out.splitlines()
    assert lines[0].startswith("no evidence of near: the data have no known likelihood")
    assert "warning: observation 2 is unlike the simulations of every model" in lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("runs=[RUN] y=obs.csv", "must be two folders or more"),
        ("runs=RUN y=obs.csv", "must be two folders or more"),
        ("runs=[RUN,nowhere] y=obs.csv", "nowhere"),
        ("runs=[RUN,OTHER] y=obs.csv", "give runs on the same data"),
        ("runs=[RUN,RUN] y=obs.csv", "has no calibration.npz"),
        ("y=obs.csv", "runs=... is needed"),
    ],
)
def test_a_mistake_is_answered_by_one_line(arguments, says, command, inverse_run, runs):
    Path("obs.csv").write_text("end x,end y\n0,0\n")
    words = arguments.replace("RUN", str(inverse_run)).replace("OTHER", str(runs["quiet"]))
    answer = command("innflow-compare", *words.split())
    assert answer.code == 2, answer
    (line,) = answer.err.splitlines()
    assert says in line
