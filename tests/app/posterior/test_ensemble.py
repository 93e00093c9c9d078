"""Ensembles of flows: their mixture in densities and draws, and their training."""

from __future__ import annotations

import math

import pytest
import torch

import innflow
from innflow.app import Inverse, Member
from innflow.flow import Observed, vector
from innflow.partition import Partition
from innflow.run.load import assemble

PARTITION = Partition({"x": (2,)}, {"z": (2,)}, {"y": (3,)})


def member() -> Member:
    embedding = Observed((3,))
    flow = vector(2, depth=2, hidden=[8], context=embedding.features)
    for parameter in flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return Member(flow, embedding)


def build(members: list[Member]) -> Inverse:
    first, *others = members
    return Inverse(first.flow, PARTITION, embedding=first.embedding, others=others).eval()


@pytest.fixture
def members() -> list[Member]:
    torch.manual_seed(0)
    return [member() for _ in range(3)]


def test_the_density_is_the_mean_of_the_densities(members):
    x, y = torch.randn(7, 2), torch.randn(7, 3)
    y[2, 1] = torch.nan
    each = torch.stack([build([one]).log_prob(x, y) for one in members])
    assert float(each.std(dim=0).min()) > 1e-3
    found = build(members).log_prob(x, y)
    torch.testing.assert_close(found, each.logsumexp(dim=0) - math.log(3))


def test_draw_and_latent_i_are_those_of_flow_i_modulo_the_number(members):
    y, app = torch.randn(3), build(members)
    drawn = app.posterior(y, 10, seed=0)
    for index, one in enumerate(members):
        alone = build([one])
        torch.testing.assert_close(drawn[index::3], alone.posterior(y, 10, seed=0)[index::3])
        x, rows = torch.randn(10, 2, generator=torch.Generator().manual_seed(1)), y.expand(10, 3)
        encoded = alone.encode(x, rows)[index::3]
        torch.testing.assert_close(app.encode(x, rows)[index::3], encoded)


def test_fewer_draws_than_flows(members):
    assert build(members).posterior(torch.zeros(3), 1, seed=0).shape == (1, 2)


def test_each_flow_is_trained_as_if_alone(members):
    app, x, y = build(members).train(), torch.randn(7, 2), torch.randn(7, 3)
    app({"x": x}, {"y": y}).log_prob.sum().backward()
    together = [[weight.grad.clone() for weight in one.flow.parameters()] for one in members]
    for one, gradients in zip(members, together, strict=True):
        one.zero_grad()
        build([one]).train()({"x": x}, {"y": y}).log_prob.sum().backward()
        alone = [weight.grad / 3 for weight in one.flow.parameters()]
        torch.testing.assert_close(gradients, alone)


def test_an_ensemble_is_a_key_of_a_run(tmp_path):
    from tiny import TINY_ARM, train

    train(tmp_path / "run", *TINY_ARM, "ensemble=2")
    app = innflow.load(tmp_path / "run")
    assert isinstance(app, Inverse)
    assert len(app.flows) == 2
    weights = [list(flow.parameters()) for flow in app.flows]
    differs = [not torch.equal(a, b) for a, b in zip(*weights, strict=True)]
    assert sum(differs) > len(differs) / 2
    # Both have started at the linear regression of x on y.
    assert all(bool(flow.levels[0]._transforms[0].initialised) for flow in app.flows)
    assert app.posterior(torch.zeros(2), 5).shape == (5, 4)


def test_an_ensemble_is_one_of_posteriors_given_y(config, refused):
    with refused("ensemble=0"):
        assemble({**config, "ensemble": 0}, {"x": (2,)})
    with refused("data.missing=0.3", "partition=given_y"):
        assemble({**config, "data": {"missing": 0.3}}, {"x": (2,)})
    with refused("ensemble=2", "partition=given_y"):
        assemble({**config, "ensemble": 2}, {"x": (2,)})
