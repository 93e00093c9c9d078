"""Tests of own.py: run `pytest` in this folder."""

from types import SimpleNamespace

import numpy as np
import own
import torch


def test_the_sets_of_the_spiral():
    """Sets have their sizes, and each has points in the plane."""
    sets = own.Spiral(n=200).load_sets()
    assert len(sets["train"].parts["x"]) + len(sets["val"].parts["x"]) == 200
    assert all(one.parts["x"].shape[1] == 2 for one in sets.values())


def test_the_model_is_a_bijection():
    """The inverse gives the inputs back, and the log-determinants add up to 0."""
    torch.manual_seed(0)
    flow = own.waves((2,), depth=3)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.1 * torch.randn_like(weight)
        x = torch.randn(10, 2)
        z, logabsdet = flow(x)
        again, back = flow.inverse(z)
    assert torch.allclose(again, x, atol=1e-4)
    assert torch.allclose(logabsdet + back, torch.zeros(10), atol=1e-4)


def test_the_score_is_smallest_at_the_mean_radius():
    """A latent vector of the mean norm has the score 0, one at the origin more."""
    score = own.Radius()
    score.fit(SimpleNamespace(latent=np.array([[3.0, 4.0], [0.0, 5.0]])))
    assert np.allclose(score(SimpleNamespace(latent=np.array([[5.0, 0.0], [0.0, 0.0]]))), [0, 5])
