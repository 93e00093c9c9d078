"""Values and trials that are left out at random."""

from __future__ import annotations

import math

import pytest
import torch

from innflow.data import Pairs, Simulator
from innflow.data.simulation.missing import Missing, check_missing

NORMAL = "innflow.problem.normal"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_mean_share_is_missing_and_varies_between_items(share):
    missing = Missing(share).hide(torch.zeros(4000, 50), generator()).isnan().double().mean(dim=1)
    assert float(missing.mean()) == pytest.approx(share, abs=0.02)
    low, high = max(0, 2 * share - 1), min(1, 2 * share)
    assert float(missing.std()) == pytest.approx((high - low) / math.sqrt(12), abs=0.03)


def test_the_number_of_trials_is_log_uniform_and_whole_trials_are_missing():
    y = torch.arange(60.0).expand(20_000, 60)
    hidden = Missing(0.0, (2, 20)).hide(y, generator())
    trials = hidden.reshape(-1, 20, 3)
    there = ~trials.isnan().any(dim=2)
    assert torch.equal(there, ~trials.isnan().all(dim=2))
    assert torch.equal(hidden[~hidden.isnan()], y[~hidden.isnan()])
    counts = there.sum(dim=1)
    assert (int(counts.min()), int(counts.max())) == (2, 20)
    expected = math.log(3 / 2) / math.log(21 / 2)
    assert float((counts == 2).double().mean()) == pytest.approx(expected, abs=0.01)
    assert float(there.double().mean(dim=0).std()) < 0.01  # which trials does not matter


def test_nothing_is_missing_by_default():
    y = torch.randn(5, 3)
    assert torch.equal(Missing().hide(y), y)
    assert torch.equal(check_missing(None, 4).hide(y), y)


@pytest.mark.parametrize(
    ("share", "trials", "key"),
    [
        (1.0, None, "data.missing=1.0"),
        (-0.1, None, "data.missing"),
        (math.nan, None, "data.missing"),
        (None, 0, "data.trials=0"),
        (None, [3, 2], "data.trials=[3, 2]"),
        (None, [1, 2, 3], "data.trials"),
        (None, [1.5, 2], "data.trials"),
    ],
)
def test_settings_out_of_range_are_refused(share, trials, key, refused):
    with refused(key):
        check_missing(share, trials)


@pytest.fixture(scope="module")
def trials() -> Simulator:
    return Simulator(f"{NORMAL}.prior", f"{NORMAL}.forward", n=400, n_test=40, trials=[1, 6])


def test_validation_and_test_are_left_out_once_and_training_data_are_complete(trials):
    sets = trials.sets()
    assert trials.shapes == {"x": (2,), "y": (6, 1)}
    assert trials.columns["y"] == [f"y {i}" for i in range(1, 7)]
    assert not bool(sets["train"].parts["y"].isnan().any())
    for name in ("val", "test"):
        assert 0.2 < float(sets[name].parts["y"].isnan().double().mean()) < 0.8
    again = Simulator(f"{NORMAL}.prior", f"{NORMAL}.forward", n=400, n_test=40, trials=[1, 6])
    same = again.sets()["test"].parts["y"]
    torch.testing.assert_close(same, sets["test"].parts["y"], equal_nan=True)


def test_the_model_is_called_anew_for_each_trial(trials):
    x = torch.tensor([[5.0, 1e-4], [-5.0, 4.0]])
    y = trials.simulate(x, seed=0)
    assert y.shape == (2, 6)
    assert len(y.unique()) == 12
    torch.testing.assert_close(y[0], torch.full((6,), 5.0), atol=0.1, rtol=0)


def test_the_likelihood_of_trials_is_the_product_of_those_there():
    paths = [f"{NORMAL}.{name}" for name in ("prior", "forward", "posterior", "log_likelihood")]
    prior, forward, reference, likelihood = paths
    data = Simulator(
        prior, forward, reference=reference, log_likelihood=likelihood, n=20, n_test=5, trials=3
    )
    x, y = torch.tensor([[0.5, 2.0]]), torch.tensor([1.0, torch.nan, -1.0])
    normal = torch.distributions.Normal(0.5, 2.0**0.5)
    expected = data.prior.log_prob(x) + normal.log_prob(y[[0, 2]].double()).sum()
    torch.testing.assert_close(data.log_joint(y)(x), expected)
    assert data.reference is not None
    assert data.reference(y.numpy(), 7, 0).shape == (7, 2)


def test_declared_noise_is_that_of_each_trial_and_its_marginal_is_the_likelihood():
    bounds = {"a": [0.0, 1.0], "b": [0.0, 1.0]}
    factor = [[0.5, 0.0], [0.3, 0.4]]
    forward = "innflow.problem.two_moons.forward"
    data = Simulator(bounds, forward, noise=factor, n=20, n_test=5, trials=2)
    assert data.noise is not None
    torch.testing.assert_close(data.noise, torch.block_diag(*[torch.tensor(factor)] * 2))


def test_blank_cells_of_pairs_are_missing_if_allowed(tmp_path, refused):
    rows = [f"{i},{i + 0.5},{'' if i % 3 else -i}" for i in range(60)]
    (tmp_path / "pairs.csv").write_text("a,b,c\n" + "\n".join(rows))
    data = Pairs(tmp_path / "pairs.csv", x=["a"], y=["b", "c"], missing=0)
    whole = torch.cat([items.parts["y"] for items in data.sets().values()])
    assert int(whole.isnan().sum()) == 40
    with refused("column c", "'' is not a finite number"):
        Pairs(tmp_path / "pairs.csv", x=["a"], y=["b", "c"]).sets()
    with refused("data.shape=[3]", "2 columns"):
        Pairs(tmp_path / "pairs.csv", x=["a"], y=["b", "c"], shape=[3])
