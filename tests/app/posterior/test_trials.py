"""Exchangeable trials: shuffled in training, posteriors averaged over their orders."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from innflow.app import Inverse
from innflow.app.posterior.trials import MAX_ORDERS, shuffle_trials, trial_orders
from innflow.data.base import PartsDataModule, PartsSet
from innflow.data.simulation.support import Support
from innflow.flow import vector
from innflow.latent.density import Latent, StandardNormal
from innflow.partition import Partition

TRIALS = 3


class Trials(PartsDataModule):
    """x ~ N(0, 1) in two dimensions, observed three times with noise: y (B, 6)."""

    deterministic = False
    noise = None
    support = Support(torch.full((2,), -torch.inf), torch.full((2,), torch.inf), torch.zeros(2) > 0)

    def __init__(self) -> None:
        super().__init__((2,), batch_size=64)

    def load_sets(self) -> dict[str, PartsSet]:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(2000, 2, generator=generator)
        y = x.repeat(1, TRIALS) + torch.randn(2000, 2 * TRIALS, generator=generator)
        parts = {"x": x, "y": y}
        names = [str(i) for i in range(2000)]
        roles = {"train": "train", "val": "val", "test": "inlier"}
        return {name: PartsSet(name, role, parts, names) for name, role in roles.items()}


def build(trials: int = TRIALS, columns: int = 2 * TRIALS, given: bool = True) -> Inverse:
    shapes = {"x": (2,), "y": (columns,)}
    right = {"z": "rest"} if given else {"y": "data", "z": "rest"}
    left = {"x": "data"} if given else {"x": "data", "pad": columns}
    partition = Partition.build(left, right, shapes, {"y": "data"} if given else None)
    flow = vector(partition.shape, 2, (16,), context=partition.context_features)
    return Inverse(
        flow=flow, partition=partition, latent=Latent({"z": StandardNormal()}), trials=trials
    )


@pytest.fixture
def app(fit) -> Inverse:
    app = build()
    fit(app, Trials(), max_steps=5)
    for parameter in app.flow.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return app


def test_trials_are_shuffled_whole_and_each_item_by_itself():
    y = torch.arange(16.0).reshape(2, 8)
    generator = torch.Generator().manual_seed(0)
    seen = torch.stack([shuffle_trials(y, 4, generator) for _ in range(300)])
    apart = seen.reshape(300, 2, 4, 2)
    assert (apart[..., 1] == apart[..., 0] + 1).all()
    assert len({tuple(row) for row in apart[:, 0, :, 0].tolist()}) == 24
    assert torch.equal(seen.sort(dim=2).values, y.expand(300, 2, 8))
    assert not torch.equal(seen[:, 0], seen[:, 1] - 8)


def test_training_shuffles_and_validation_does_not(app):
    y = torch.randn(5, 2 * TRIALS)
    batch = {"x": torch.zeros(5, 2), "y": y}
    plain = app.targets(batch, None)["y"]
    torch.testing.assert_close(plain, app.y_units(y))
    noise = torch.Generator().manual_seed(0)
    shuffled = app.targets(batch, noise)["y"]
    assert not torch.equal(shuffled, plain)
    torch.testing.assert_close(shuffled.sort(dim=1).values, plain.sort(dim=1).values)


def test_all_trials_have_one_unit(app):
    apart = app.y_units.scale.reshape(TRIALS, 2)
    assert torch.equal(apart, apart[:1].expand_as(apart))


def test_the_density_is_the_mean_over_all_orders(app):
    x, y = torch.randn(4, 2), torch.randn(4, 2 * TRIALS)
    apart = y.unflatten(1, (TRIALS, 2))
    app.trials = 1
    each = [app.log_prob(x, apart[:, list(p)].flatten(1)) for p in permutations(range(TRIALS))]
    app.trials = TRIALS
    found = app.log_prob(x, y)
    torch.testing.assert_close(found, torch.stack(each).logsumexp(0) - math.log(6))
    assert torch.stack(each).std(dim=0).min() > 1e-3
    torch.testing.assert_close(found, app.log_prob(x, apart[:, [2, 0, 1]].flatten(1)))


def test_samples_have_that_density(app):
    """Integrals over a grid against the share of draws in each of its cells."""
    y = torch.randn(2 * TRIALS)
    draws = app.posterior(y, 40_000, seed=0)
    edges = torch.linspace(-6, 6, 61)
    centres = (edges[1:] + edges[:-1]) / 2
    grid = torch.cartesian_prod(centres, centres)
    expected = app.log_prob(grid, y.expand(len(grid), -1)).exp().reshape(60, 60) * 0.2**2
    found, _ = torch.histogramdd(draws, [edges, edges])
    assert expected.sum() == pytest.approx(1, abs=0.02)
    assert (found / len(draws) - expected).abs().sum() < 0.12


def test_many_trials_have_random_orders():
    assert len(trial_orders(3)) == 6
    assert len(trial_orders(4)) == MAX_ORDERS
    assert trial_orders(6).shape == (MAX_ORDERS, 6)
    assert torch.equal(trial_orders(6), trial_orders(6))


def test_an_invalid_number_of_trials_is_refused(refused):
    with refused("app.trials=4", "6 columns"):
        build(trials=4)
    with refused("app.trials=0"):
        build(trials=0)
