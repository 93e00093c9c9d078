"""Draws sent through the forward model again: which model, with which noise, and what fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from innflow.analysis.posterior.resimulation import resimulate_or_announce
from innflow.data.simulation.simulator import Simulator

MODELS = """
import torch
from torch.distributions import Independent, Uniform

prior = Independent(Uniform(-torch.ones(2), torch.ones(2)), 1)
fails = False

def partial(x):
    y = x.exp()
    return torch.where(x > 0.5, torch.nan, y) if fails else y

def broken(x):
    if fails:
        raise ValueError("no such bridge")
    return x
"""


def simulator(problem: str, **settings) -> Simulator:
    paths = {key: f"{problem}.{key}" for key in ("prior", "forward")}
    return Simulator(**paths, **settings)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Return an importable module whose functions fail once its `fails` is set."""
    (tmp_path / "resimulated_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("resimulated_models")
    monkeypatch.setattr(module, "fails", False)
    return module


def test_the_error_is_that_of_the_arm():
    data = simulator("innflow.problem.arm")
    x = torch.randn(2, 50, 4)
    y = np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32)
    found = resimulate_or_announce(data, x, y, seed=0)
    assert len(found) == 2
    for row, one in enumerate(found):
        residuals = data.forward(x[row]).numpy() - y[row]
        assert one.error == pytest.approx(np.square(residuals).sum(axis=1).mean())
        np.testing.assert_allclose(one.rms, np.sqrt(np.square(residuals).mean(axis=0)), rtol=1e-5)
        assert one.left_out == 0


def test_declared_noise_is_left_out():
    data = simulator("innflow.problem.arm", noise=10.0)
    x = torch.randn(1, 50, 4)
    y = data.forward(x[0, :1]).numpy()
    (found,) = resimulate_or_announce(data, x[:, :1], y, seed=0)
    assert found.error == 0
    (found,) = resimulate_or_announce(data, x, y, seed=0)
    assert found.error < 20


def test_noise_of_the_model_itself_is_drawn_once_a_draw_and_repeatably():
    data = simulator("innflow.problem.two_moons")
    x = torch.zeros(1, 2000, 2)
    first, again, other = (
        resimulate_or_announce(data, x, np.zeros((1, 2)), seed)[0] for seed in (0, 0, 1)
    )
    assert np.array_equal(first.y, again.y)
    assert not np.array_equal(first.y, other.y)
    assert len(np.unique(first.y[:, 0])) > 1900


def test_many_observations_share_the_runs():
    data = simulator("innflow.problem.arm")
    found = resimulate_or_announce(data, torch.zeros(100, 200, 4), np.zeros((100, 2)), seed=0)
    assert [len(one.y) for one in found] == [100] * 100
    (found,) = resimulate_or_announce(data, torch.zeros(1, 200, 4), np.zeros((1, 2)), seed=0)
    assert len(found.y) == 200


def test_data_that_are_not_finite_are_counted(models, capsys):
    data = Simulator("resimulated_models.prior", "resimulated_models.partial")
    models.fails = True
    x = torch.zeros(1, 100, 2)
    x[0, :7] = 0.9
    (found,) = resimulate_or_announce(data, x, np.ones((1, 2)), seed=0)
    assert (len(found.y), found.left_out, found.error) == (93, 7, 0.0)
    assert "observation 0: 7 of 100 resimulations are not finite" in capsys.readouterr().out
    assert resimulate_or_announce(data, x[:, :7], np.ones((1, 2)), seed=0) == []
    line = "resimulation left out: observation 0: no draw gives finite data\n"
    assert capsys.readouterr().out == line


def test_a_model_that_fails_is_named_in_one_line(models, capsys):
    data = Simulator("resimulated_models.prior", "resimulated_models.broken")
    models.fails = True
    assert resimulate_or_announce(data, torch.zeros(1, 5, 2), np.zeros((1, 2)), seed=0) == []
    out = capsys.readouterr().out
    assert out.startswith(
        "resimulation left out: data.forward=resimulated_models.broken: it raises"
    )
    assert "no such bridge" in out
    assert out.count("\n") == 1
