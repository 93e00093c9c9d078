from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import make_circles, make_moons

from innflow.data.toy.clouds import Toy
from innflow.errors import InnflowError

NAMES = ["moons", "rings", "checkerboard", "eight_gaussians", "mixture"]
EXACT = ["eight_gaussians", "mixture"]


@pytest.mark.parametrize("name", NAMES)
def test_sets(name):
    data = Toy(name, n=500, n_test=100, holdout=0.1)
    assert data.shape == (2,)
    sets = data.sets()
    sizes = {key: (part.role, len(part)) for key, part in sets.items()}
    assert sizes == {"train": ("train", 450), "val": ("val", 50), "test": ("inlier", 100)}
    points = torch.cat([part.parts["x"] for part in sets.values()])
    assert points.dtype == torch.float32
    assert len(points.unique(dim=0)) == 600
    assert points.abs().max() < 6
    assert sets["test"].names[3] == "test/3"
    assert next(iter(data.train_dataloader()))["x"].shape == (256, 2)
    assert (data.log_prob is not None) == (name in EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    def points(seed):
        return Toy(name, n=100, n_test=50, seed=seed).sets()["test"].parts["x"]

    assert torch.equal(points(1), points(1))
    assert not torch.equal(points(1), points(2))


def distance(x: torch.Tensor, curve: np.ndarray) -> torch.Tensor:
    return torch.cdist(x.double(), torch.from_numpy(curve)).amin(1)


def test_moons_and_rings_lie_on_those_of_sklearn():
    x = Toy("moons").sets()["test"].parts["x"]
    far = distance(x, make_moons(4000)[0])
    assert far.max() < 0.3
    assert 0.02 < far.mean() < 0.06
    x = Toy("rings").sets()["test"].parts["x"]
    far = distance(x, 2 * make_circles(4000, factor=0.5)[0])
    assert far.max() < 0.5
    assert 0.03 < far.mean() < 0.09


def test_checkerboard_covers_every_other_square_evenly():
    x = Toy("checkerboard").sets()["train"].parts["x"]
    squares = ((x + 4) / 2).floor().long()
    assert squares.min() == 0
    assert squares.max() == 3
    assert (squares.sum(1) % 2 == 0).all()
    counts = torch.bincount(squares[:, 0] * 4 + squares[:, 1])
    counts = counts[counts > 0]
    assert len(counts) == 8
    assert (counts / counts.sum() - 1 / 8).abs().max() < 0.01


@pytest.mark.parametrize("name", EXACT)
def test_the_density_integrates_to_one_and_is_that_of_the_points(name):
    data = Toy(name, n=200_000)
    step = 0.02
    axis = torch.arange(-7, 7, step)
    grid = torch.cartesian_prod(axis, axis)
    density = data.log_prob(grid).double().exp() * step**2
    assert abs(density.sum() - 1) < 1e-4

    x = data.sets()["train"].parts["x"]
    mean = (density[:, None] * grid).sum(0)
    assert torch.allclose(x.double().mean(0), mean, atol=0.02)
    centred = grid.double() - mean
    covariance = (density[:, None] * centred).T @ centred
    assert torch.allclose(x.double().T.cov(), covariance, rtol=0.02, atol=0.02)
    entropy = -(density * data.log_prob(grid)).sum()
    assert abs(-data.log_prob(x).double().mean() - entropy) < 0.01


def test_eight_gaussians_agree_with_scipy():
    x = torch.randn(50, 2, dtype=torch.float64) * 2
    angles = np.arange(8) * np.pi / 4
    centres = 2 * np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], 1)
    density = np.mean([multivariate_normal(c, np.eye(2) / 8).pdf(x.numpy()) for c in centres], 0)
    found = Toy("eight_gaussians").log_prob(x)
    assert found.dtype == torch.float64
    assert np.allclose(found, np.log(density), rtol=1e-10)


def test_far_away_the_density_is_small_and_finite():
    for name in EXACT:
        log_prob = Toy(name).log_prob(torch.tensor([[100.0, -100.0]]))
        assert log_prob.shape == (1,)
        assert torch.isfinite(log_prob).all()
        assert log_prob < -1000


def test_wrong_settings():
    with pytest.raises(InnflowError, match="choose from moons, rings"):
        Toy("spirals")
    with pytest.raises(InnflowError, match=r"data\.n=1"):
        Toy("moons", n=1)
