from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from innflow.data.toy.modes import EightModes

COUNTS = {"all": [1] * 8, "some": [4, 2, 1, 1], "none": [8]}


@pytest.mark.parametrize("labels", COUNTS)
def test_sets(labels):
    data = EightModes(labels, n=4000, n_test=2000, holdout=0.1)
    assert data.shape == (2,)
    assert len(data.classes) == len(COUNTS[labels])
    sets = data.sets()
    sizes = {key: (part.role, len(part)) for key, part in sets.items()}
    assert sizes == {
        "train": ("train", 3600),
        "val": ("val", 400),
        "test": ("inlier", 2000),
        "far": ("outlier", 2000),
    }
    names = [name for part in sets.values() for name in part.names]
    assert len(set(names)) == 8000
    for name in ("train", "val", "test"):
        x, label = (sets[name].parts[key] for key in ("x", "label"))
        assert (x.dtype, label.dtype) == (torch.float32, torch.int64)
        # The label is that of the mode that the point lies at.
        distance = torch.cdist(x.double(), torch.from_numpy(data.centres))
        assert torch.equal(torch.from_numpy(data.mode_labels)[distance.argmin(1)], label)
        assert distance.amin(1).max() < 5.5 * data.sigma
        shares = label.bincount(minlength=len(data.classes)) / len(label)
        assert (shares - torch.from_numpy(data.weights)).abs().max() < 0.06


def test_four_colours():
    data = EightModes("some")
    assert data.classes == ["red", "blue", "green", "purple"]
    assert data.mode_labels.tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    # Red on top, blue right below, and one mode each left below.
    assert (data.centres[data.mode_labels == 0][:, 1] > 0).all()
    assert (data.centres[data.mode_labels == 1] * [1, -1] > 0).all()
    assert np.allclose(np.linalg.norm(data.centres, axis=1), 2.6131, atol=1e-4)


def test_batches_carry_labels():
    batch = next(iter(EightModes(n=600, batch_size=100).train_dataloader()))
    assert {key: tuple(part.shape) for key, part in batch.items()} == {
        "x": (100, 2),
        "label": (100,),
    }


@pytest.mark.parametrize("labels", COUNTS)
def test_densities_are_the_exact_ones(labels):
    data = EightModes(labels)
    x = torch.randn(40, 2, dtype=torch.float64) * 2
    modes = [multivariate_normal(centre, 0.04).logpdf(x) for centre in data.centres]
    modes = np.stack(modes, 1)
    found = data.log_prob(x)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, logsumexp(modes, 1, b=1 / 8), rtol=1e-9)
    given = data.class_log_prob(x)
    for label in range(len(data.classes)):
        own = modes[:, data.mode_labels == label]
        exact = logsumexp(own, 1, b=1 / own.shape[1])
        np.testing.assert_allclose(given[:, label], exact, rtol=1e-9)
    joint = given + torch.from_numpy(data.weights).log()
    assert torch.allclose(joint.logsumexp(1), found)
    assert data.log_prob(x.float()).dtype == torch.float32


@pytest.mark.parametrize(("labels", "value"), [("all", -0.381), ("some", 0.485), ("none", 1.698)])
def test_the_floor_is_the_entropy_by_quadrature(labels, value):
    data = EightModes(labels)
    step = 0.05
    axis = torch.arange(-4.2, 4.2, step, dtype=torch.float64)
    log_p = data.class_log_prob(torch.cartesian_prod(axis, axis))
    entropies = -(log_p.exp() * log_p).sum(0) * step**2
    assert data.floor == pytest.approx(float(entropies @ torch.from_numpy(data.weights)), abs=1e-5)
    assert data.floor == pytest.approx(value, abs=5e-4)
    data = EightModes(labels, n_test=40_000)
    test = data.sets()["test"].parts
    nll = -data.class_log_prob(test["x"]).gather(1, test["label"][:, None]).mean()
    assert float(nll) == pytest.approx(data.floor, abs=0.02)


def test_draws_of_a_class_are_those_of_its_modes():
    data = EightModes("some")
    x = data.sample_class(1, 40_000, np.random.default_rng(0))
    own = data.centres[data.mode_labels == 1]
    np.testing.assert_allclose(x.mean(0), own.mean(0), atol=0.02)
    np.testing.assert_allclose(x.std(0) ** 2, own.std(0) ** 2 + 0.04, atol=0.02)
    assert data.class_log_prob(torch.from_numpy(x)).argmax(1).unique().tolist() == [1]


def test_far_points_are_far_and_all_over_the_square():
    data = EightModes(n_test=20_000)
    x = data.sets()["far"].parts
    assert list(x) == ["x"]
    distance = torch.cdist(x["x"].double(), torch.from_numpy(data.centres)).amin(1)
    assert distance.min() >= 4 * data.sigma - 1e-6
    assert x["x"].abs().max() <= 4
    for quarter in (x["x"] > 0).long() @ torch.tensor([1, 2]), (x["x"].abs() > 3).any(1).long():
        counts = quarter.bincount() / len(quarter)
        # Eight discs of radius 0.8, three of their segments beyond |3| or so, are left out.
        assert counts.min() > 0.2


def test_the_seed_decides():
    def points(seed):
        return EightModes(n=100, n_test=50, seed=seed).sets()

    for name in ("test", "far"):
        assert torch.equal(points(1)[name].parts["x"], points(1)[name].parts["x"])
        assert not torch.equal(points(1)[name].parts["x"], points(2)[name].parts["x"])


def test_wrong_settings(refused):
    with refused("data.labels=most", "choose from all, some, none"):
        EightModes("most")
    with refused("data.n_test=0"):
        EightModes(n_test=0)
