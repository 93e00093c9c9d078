from __future__ import annotations

import math
import pickle

import pytest
import torch
from flow.zoo import perturb
from torch import distributions

from innflow import Latent, Partition, flow
from innflow.app import Density
from innflow.app.schedule import cosine
from innflow.latent.density import Normal, StandardNormal


@pytest.fixture
def app() -> Density:
    made = Density(flow.vector(3, depth=3, hidden=(8,), coupling="spline"))
    perturb(made)
    return made


def same(first, second) -> bool:
    pairs = zip(first.arrays().values(), second.arrays().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_untrained_it_is_the_normal_density_of_the_data():
    app = Density(flow.vector(3, depth=4, hidden=(8,)))
    x = torch.randn(10, 3)
    exact = distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1)
    torch.testing.assert_close(app.log_prob(x), exact)


def test_log_prob_is_the_change_of_variables(app):
    app, x = app.double(), torch.randn(1, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: app.flow(v)[0], x).view(3, 3)
    z = app.encode(x)
    exact = distributions.Normal(0.0, 1.0).log_prob(z).sum() + jacobian.det().abs().log()
    assert abs(app.log_prob(x) - exact) < 1e-9


def test_decode_undoes_encode(app):
    x = torch.randn(50, 3)
    assert (app.decode(app.encode(x)) - x).abs().max() < 1e-4
    z = torch.randn(50, 3)
    assert (app.encode(app.decode(z)) - z).abs().max() < 1e-4


def test_measured_terms_sum_to_log_prob(app):
    x = torch.randn(20, 3)
    measured = app.measure(x)
    torch.testing.assert_close(measured.log_prob, app.log_prob(x))
    assert torch.equal(measured.terms.sum(dim=1), measured.log_prob)
    assert measured.terms.shape == (20, 1)
    assert torch.equal(measured.latent, app.encode(x))
    assert torch.equal(measured.logabsdet, app.flow(x)[1])


def test_measurements_are_reproducible_bit_by_bit(app):
    x = torch.randn(20, 3)
    first = app.measure(x)
    torch.manual_seed(99)
    torch.randn(7)
    assert same(first, app.measure(x))
    assert torch.equal(app.log_prob(x), app.log_prob(x))


def test_inference_has_no_gradient_and_keeps_the_mode(app):
    app.train()
    x = torch.randn(4, 3, requires_grad=True)
    assert not app.log_prob(x).requires_grad
    assert not app.sample(2).requires_grad
    assert app.training
    app.eval()
    app.log_prob(x)
    assert not app.training


def test_inference_is_in_full_precision_inside_autocast(app):
    x = torch.randn(4, 3)
    exact = app.measure(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert same(app.measure(x), exact)
        assert torch.equal(app.log_prob(x), app.log_prob(x))
    assert {value.dtype for value in exact.arrays().values()} == {torch.float32}


def test_data_of_another_type_are_converted(app):
    x = torch.randint(-3, 3, (5, 3))
    assert torch.equal(app.log_prob(x), app.log_prob(x.float()))
    assert app.log_prob(x.double()).dtype == torch.float32


def test_a_seeded_sample_is_reproducible_and_keeps_the_global_generator(app):
    before = torch.get_rng_state()
    first = app.sample(5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(10)
    assert torch.equal(app.sample(5, seed=3), first)
    assert not torch.equal(app.sample(5, seed=4), first)
    assert first.shape == (5, 3)


def test_a_sample_without_a_seed_is_new_and_follows_the_global_one(app):
    torch.manual_seed(1)
    first, second = app.sample(5), app.sample(5)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(app.sample(5), first)


def test_samples_are_decoded_draws_of_the_latent_at_its_temperature(app):
    for temperature in (1.0, 0.3):
        z = app.encode(app.sample(4000, temperature, seed=0))
        assert z.mean(dim=0).abs().max() < 0.06
        torch.testing.assert_close(z.std(dim=0), torch.full((3,), temperature), rtol=0.05, atol=0)


def test_temperature_zero_gives_the_mean(app):
    centre = app.decode(torch.zeros(1, 3))
    torch.testing.assert_close(app.sample(3, temperature=0.0), centre.expand(3, 3))


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (-1, 1.0), (2, -0.5)])
def test_invalid_sample_arguments_are_refused(app, n, temperature, refused):
    with refused(f"n={n}", f"temperature={temperature}"):
        app.sample(n, temperature)


@pytest.mark.parametrize("shape", [(5, 2), (5, 3, 1), (5,)])
def test_data_of_another_shape_are_refused(app, shape, refused):
    for question in (app.log_prob, app.encode, app.measure):
        with refused(f"x has shape {shape}", "expected (batch, 3)"):
            question(torch.zeros(shape))


def test_latents_of_another_shape_are_refused(app, refused):
    with refused("latents have shape (4,)", "expected (3,)"):
        app.decode(torch.zeros(2, 4))


def test_partition_and_latent_must_fit_flow_and_application(refused):
    net = flow.vector(4, depth=1, hidden=(4,))
    with refused("built for (4,)", "(5,)", "left 5 = x 5"):
        Density(net, Partition({"x": (5,)}, {"z": (5,)}))
    with refused("right part z has no density"):
        Density(net, latent=Latent({"y": Normal()}))
    partition = Partition({"x": (4,)}, {"y": (1,), "z": (3,)})
    with refused("Density: needs x <-> z alone", "right 4 = y 1 + z 3"):
        Density(net, partition, Latent({"y": Normal(), "z": StandardNormal()}))


def test_repr(app):
    text = repr(app)
    assert text.splitlines()[0] == "Density: left 3 = x 3, right 3 = z 3"
    assert "CouplingFlow(3 <-> 3, 3 couplings" in text
    assert "minimises 1 nll" in text


def test_an_application_pickles(app):
    """`strategy=ddp_spawn` sends it to its processes."""
    app.schedule = cosine(0.1)
    twin = pickle.loads(pickle.dumps(app))
    x = torch.randn(4, 3)
    assert torch.equal(twin.log_prob(x), app.log_prob(x))
    assert math.isclose(twin.schedule(0.5), app.schedule(0.5))
