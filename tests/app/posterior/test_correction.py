"""Importance sampling with the flow as proposal, on a posterior that is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small import train_quietly
from torch.distributions import Normal, Uniform

from app.posterior.test_inverse import NOISE, Sum, build, posterior_of
from innflow.app import correct_posterior

Y = 4.0


def log_joint(x: torch.Tensor) -> torch.Tensor:
    prior = Normal(Sum.mean, Sum.sd).log_prob(x).sum(dim=1)
    return prior + Normal(x.sum(dim=1), NOISE).log_prob(torch.tensor(Y))


@pytest.fixture(scope="module")
def rough():
    """A flow after one step of training."""
    app = build("given_y")
    train_quietly(app, Sum(2000), max_steps=1)
    return app.eval()


@pytest.fixture(scope="module")
def corrected(rough):
    # The flow is given other data, so that its own draws are wrong.
    return correct_posterior(rough, [Y - 0.5], log_joint, n=20_000, proposals=80_000, seed=0)


def test_moments_are_exact(corrected):
    exact = posterior_of(Y)
    deviation = (corrected.x.mean(dim=0) - exact.mean) / exact.stddev
    assert deviation.abs().max() < 0.03
    error = torch.cov(corrected.x.T) - exact.covariance_matrix
    assert torch.linalg.norm(error) < 0.03 * torch.linalg.norm(exact.covariance_matrix)


def test_the_evidence_is_exact(corrected):
    total = math.sqrt(float(Sum.sd.square().sum()) + NOISE**2)
    exact = float(Normal(Sum.mean.sum(), total).log_prob(torch.tensor(Y)))
    found = corrected.importance
    assert abs(found.log_evidence - exact) < 4 * found.log_evidence_error < 0.05
    density = posterior_of(Y).log_prob(corrected.x)
    assert (corrected.log_prob - density).abs().max() < 0.05


def test_draws_are_resampled_from_the_proposals(corrected, rough):
    drawn = rough.posterior(torch.tensor([Y - 0.5]), 80_000, seed=0)
    assert torch.equal(corrected.proposals, drawn)
    rows = {tuple(row) for row in drawn.tolist()}
    assert all(tuple(row) in rows for row in corrected.x.tolist())
    assert corrected.distinct == len(corrected.x.unique(dim=0))


def test_draws_outside_of_the_support_have_weight_zero(rough):
    def bounded(x: torch.Tensor) -> torch.Tensor:
        found = log_joint(x)
        found[x[:, 0] < 4] = torch.nan if x[0, 0] < 3 else -torch.inf
        return found

    found = correct_posterior(rough, [Y], bounded, n=500, seed=0)
    assert (found.x[:, 0] >= 4).all()
    outside = found.proposals[:, 0] < 4
    assert outside.any()
    assert (found.importance.weights[outside.numpy()] == 0).all()


def test_a_posterior_of_uniform_parameters_keeps_its_evidence(rough):
    """The evidence of a likelihood of 1 is that of the prior: 1."""

    def box(x: torch.Tensor) -> torch.Tensor:
        prior = Uniform(torch.tensor([4.3, -0.8]), torch.tensor([4.8, -0.4]), validate_args=False)
        return prior.log_prob(x).sum(dim=1)

    found = correct_posterior(rough, [Y], box, n=1000, proposals=40_000, seed=0).importance
    assert abs(found.log_evidence) < 4 * found.log_evidence_error < 0.1


@pytest.mark.parametrize(("way", "says"), [("x_pad_yz", "partition=given_y"), ("x_eps_yz", "")])
def test_a_density_that_is_not_exact_is_refused(way, says, refused):
    with refused("correct: the density of x alone has no closed form", says):
        correct_posterior(build(way), [Y], log_joint)


def test_integers_and_many_trials_are_refused(refused):
    app = build("given_y")
    app.x_units.discrete[1] = True
    with refused("correct: x1 is an integer"):
        correct_posterior(app, [Y], log_joint)
    app = build("given_y")
    app.trials = 5
    with refused("app.trials=5"):
        correct_posterior(app, [Y], log_joint)


def test_other_mistakes_are_refused(rough, refused):
    with refused("proposals=150: must be at least n=200"):
        correct_posterior(rough, [Y], log_joint, n=200, proposals=150)
    with refused("expected one observation"):
        correct_posterior(rough, np.zeros((2, 1)), log_joint)
    with refused("log_joint returns the shape (400, 2)"):
        correct_posterior(rough, [Y], lambda x: x, n=100)
    with refused("all 400 proposals have weight 0"):
        correct_posterior(rough, [Y], lambda x: torch.full((len(x),), -torch.inf), n=100)
