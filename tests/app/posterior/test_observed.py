"""Posteriors of data with missing values, of sets, and of data with several axes."""

from __future__ import annotations

import pytest
import torch

from innflow.app import Inverse
from innflow.app.posterior.misspecification import MisspecificationTest
from innflow.data import Simulator
from innflow.flow import Embedding, Observed, SeriesEmbedding, SetEmbedding, vector
from innflow.latent import density
from innflow.latent.density import Latent
from innflow.partition import Partition

NORMAL = "innflow.problem.normal"


def build(embedding: Embedding, x: int = 2, depth: int = 2) -> Inverse:
    partition = Partition({"x": (x,)}, {"z": (x,)}, {"y": embedding.shape})
    flow = vector(x, depth=depth, hidden=[16], context=embedding.features)
    return Inverse(flow, partition, embedding=embedding)


@pytest.fixture(scope="module")
def trials() -> Inverse:
    from small import train_quietly

    data = Simulator(
        f"{NORMAL}.prior", f"{NORMAL}.forward", n=600, n_test=40, batch_size=64, trials=[1, 5]
    )
    torch.manual_seed(0)
    app = build(SetEmbedding((5, 1), hidden=16))
    train_quietly(app, data, max_steps=5)
    return app


def test_one_flow_has_the_posterior_of_every_pattern_of_missing_values(fit):
    """x ~ N(0, I) in two dimensions, each observed with noise of variance 1/4."""
    torch.manual_seed(0)
    prior = "innflow.problem.gaussian_linear.prior"
    path = "innflow.problem.gaussian_linear.forward"
    data = Simulator(prior, path, n=5000, n_test=100, batch_size=256, missing=0.5)
    app = build(Observed((10,)), x=10, depth=2)
    fit(app, data, max_steps=250)
    y = torch.full((10,), 0.4)
    y[1::2] = torch.nan
    drawn = app.posterior(y, 4000, seed=0)
    seen, unseen = drawn[:, ::2], drawn[:, 1::2]
    assert float(seen.mean()) == pytest.approx(0.2, abs=0.03)
    assert float(seen.std(dim=0).mean()) == pytest.approx(0.05**0.5, rel=0.1)
    assert float(unseen.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(unseen.std(dim=0).mean()) == pytest.approx(0.1**0.5, rel=0.1)


def test_forms_of_a_set(trials):
    y = torch.randn(5, 1)
    whole = trials.posterior(y, 4, seed=0)
    assert whole.shape == (4, 2)
    assert torch.equal(whole, trials.posterior(y.flatten(), 4, seed=0))
    assert torch.equal(whole, trials.posterior(y.tolist(), 4, seed=0))
    assert torch.equal(whole[None], trials.posterior(y[None], 4, seed=0))
    few = trials.posterior(y[:2], 4, seed=0)
    padded = torch.cat((y[:2], torch.full((3, 1), torch.nan)))
    assert torch.equal(few, trials.posterior(padded, 4, seed=0))
    assert torch.equal(few[None], trials.posterior(y[None, :2], 4, seed=0))
    assert not torch.allclose(few, whole)


def test_the_order_of_trials_changes_nothing(trials):
    y, x = torch.randn(3, 1), torch.rand(6, 2) + 0.1
    turned = y[[2, 0, 1]]
    drawn = [trials.posterior(one, 9, seed=0) for one in (y, turned)]
    torch.testing.assert_close(*drawn, rtol=1e-4, atol=1e-4)  # sums in another order
    rows = [torch.nn.functional.pad(one.T, (0, 2), value=torch.nan) for one in (y, turned)]
    densities = [trials.log_prob(x, row.expand(6, -1)) for row in rows]
    torch.testing.assert_close(*densities, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*(trials.misspecification_p(row) for row in rows))


def test_all_trials_share_their_units(trials):
    assert len(trials.y_units.scale.unique()) == 1


def test_rows_that_repeat_are_embedded_once(trials, monkeypatch):
    y = torch.randn(3, 5)
    y[1, 2:] = torch.nan
    rows = y[torch.tensor([0, 0, 1, 1, 1, 2, 0])]
    expected = trials.embedding(rows)
    embedded = []
    forward = SetEmbedding.forward
    monkeypatch.setattr(
        SetEmbedding, "forward", lambda self, y: embedded.append(len(y)) or forward(self, y)
    )
    with torch.no_grad():
        found = trials.context({"y": rows})
    torch.testing.assert_close(found, expected)
    assert sum(embedded) == 4


def test_a_checkpoint_holds_the_embedding(trials):
    other = build(SetEmbedding((5, 1), hidden=16))
    other.load_state_dict(trials.state_dict())
    y = torch.randn(3, 1)
    assert torch.equal(other.posterior(y, 5, seed=1), trials.posterior(y, 5, seed=1))


def test_training_trains_the_embedding(trials):
    torch.manual_seed(0)
    start = build(SetEmbedding((5, 1), hidden=16)).embedding.state_dict()
    trained = trials.embedding.state_dict()
    assert all(not torch.equal(start[name], trained[name]) for name in start)


def test_gradients_of_an_embedding_without_stored_activations():
    app = build(SetEmbedding((4, 1), hidden=8))
    for parameter in app.flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x, y = torch.randn(7, 2), torch.randn(7, 4)
    found = []
    for reversible in (False, True):
        app.flow.reversible = reversible
        app.zero_grad()
        app({"x": x}, {"y": y}).log_prob.sum().backward()
        found.append([weight.grad.clone() for weight in app.embedding.parameters()])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_a_test_of_misspecification_leaves_out_what_is_missing():
    test = MisspecificationTest()
    generator = torch.Generator().manual_seed(0)
    test.fit(torch.randn(5000, 3, generator=generator))
    fresh = torch.randn(2000, 3, generator=generator)
    fresh[:, 1] = torch.nan
    p = test(fresh, torch.nan_to_num)
    assert 0.02 < float((p <= 0.05).float().mean()) < 0.09
    fresh[:, 0] = 9.0
    assert float(test(fresh, torch.nan_to_num).max()) < 0.01
    complete = torch.randn(50, 3, generator=generator)
    assert torch.equal(test(complete), test(complete, torch.nan_to_num))


def test_data_that_do_not_fit_are_refused(trials, refused):
    with refused("inf", "y, row 0"):
        trials.posterior(torch.tensor([1.0, 2.0, torch.inf, 0.0, 0.0]), 3)
    complete = build(SetEmbedding((5, 1), missing=False, hidden=4))
    with refused("(3, 1)"):
        complete.posterior(torch.zeros(3, 1), 3)
    series = build(SeriesEmbedding((6, 2), hidden=4))
    with refused("not a finite number"):
        series.posterior(torch.full((6, 2), torch.nan), 3)
    with refused("(5, 2)"):
        series.posterior(torch.zeros(5, 2), 3)
    with refused("y has the shape (3, 2)", "partition=given_y"):
        latent = Latent({"y": density.Observed(0.1), "z": density.StandardNormal()})
        Inverse(vector(8, depth=1), Partition({"x": (8,)}, {"y": (3, 2), "z": (2,)}), latent)
