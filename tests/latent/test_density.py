from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from innflow.latent.density import Latent, Normal, Observed, StandardNormal


@pytest.mark.parametrize("sigma", [1.0, 0.01, 3.5])
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3)])
def test_log_prob_is_that_of_torch(sigma, shape):
    value = sigma * torch.randn(5, *shape, dtype=torch.float64)
    exact = distributions.Normal(0.0, sigma).log_prob(value).flatten(1).sum(dim=1)
    torch.testing.assert_close(Normal(sigma).log_prob(value), exact)


def test_standard_normal_has_width_one():
    assert StandardNormal().sigma == 1.0
    value = torch.zeros(2, 10)
    expected = torch.full((2,), -5 * math.log(2 * math.pi))
    torch.testing.assert_close(StandardNormal().log_prob(value), expected)


@pytest.mark.parametrize("sigma", [1.0, 0.2])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_samples_have_the_width_times_the_temperature(sigma, temperature):
    drawn = Normal(sigma).sample(torch.empty(20_000, 3), temperature)
    assert drawn.mean(dim=0).abs().max() < 0.03 * sigma * temperature
    torch.testing.assert_close(
        drawn.std(dim=0), torch.full((3,), sigma * temperature), rtol=0.03, atol=0
    )


def test_samples_at_temperature_zero_are_the_mean():
    drawn = StandardNormal().sample(torch.empty(3, 2), 0.0)
    assert torch.equal(drawn, torch.zeros(3, 2))


def test_a_generator_makes_samples_reproducible():
    density, like = StandardNormal(), torch.empty(4, 2, dtype=torch.float64)
    first, second = (
        density.sample(like, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    other = density.sample(like, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float64


@pytest.fixture
def latent() -> Latent:
    return Latent({"y": Normal(0.5), "z": StandardNormal()})


def test_parts_are_independent(latent):
    parts = {"y": torch.randn(3, 2), "z": torch.randn(3, 4), "pad": 0.01 * torch.randn(3, 1)}
    terms = [Normal(0.5), StandardNormal(), Normal(0.01)]
    expected = sum(t.log_prob(v) for t, v in zip(terms, parts.values(), strict=True))
    torch.testing.assert_close(latent.log_prob(parts), expected)
    assert latent.log_prob(parts).shape == (3,)


def test_padding_gets_a_narrow_normal_unless_it_is_named(latent):
    assert latent["pad"].sigma == 0.01
    assert Latent({"pad": Normal(0.3)})["pad"].sigma == 0.3
    assert Latent({"z": StandardNormal()}, pad_sigma=0.1)["pad"].sigma == 0.1


def test_every_part_is_drawn_like_its_example(latent):
    like = {"z": torch.empty(500, 4, dtype=torch.float64), "y": torch.empty(500, 2, 3)}
    drawn = latent.sample(like, temperature=2.0)
    assert list(drawn) == ["z", "y"]
    assert {name: (v.shape, v.dtype) for name, v in drawn.items()} == {
        name: (v.shape, v.dtype) for name, v in like.items()
    }
    assert abs(float(drawn["z"].std()) - 2.0) < 0.15
    assert abs(float(drawn["y"].std()) - 1.0) < 0.1


def test_an_empty_batch_has_no_log_prob(latent):
    assert latent.log_prob({"z": torch.zeros(0, 4)}).shape == (0,)


def test_a_part_without_a_density_is_refused(latent, refused):
    latent.build({"y": (2,), "z": (4,), "pad": (1,)})
    with refused("right part w has no density", "y, z, pad"):
        latent.build({"w": (2,), "z": (4,)})


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_width_must_be_above_zero(sigma, refused):
    with refused(f"sigma={sigma}"):
        Normal(sigma)


def test_observed_is_a_normal_around_its_target():
    density = Observed(sigma=0.3).eval()
    value, target = torch.randn(5, 2), torch.randn(5, 2)
    expected = torch.distributions.Normal(target, 0.3).log_prob(value).sum(dim=1)
    assert torch.allclose(density.log_prob(value, target), expected, atol=1e-5)
    drawn = density.sample(torch.empty(20_000, 1), target=torch.full((20_000, 1), 4.0))
    assert float(drawn.mean()) == pytest.approx(4, abs=0.02)
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.05)


def test_the_width_of_observed_is_annealed_in_training_alone():
    density = Observed(sigma=0.01, start=1.0)
    density.train()
    widths = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        density.advance(progress)
        widths.append(density.width)
    assert widths == pytest.approx([1.0, 0.1, 0.01, 0.01])
    density.advance(0.0)
    assert density.eval().width == 0.01


def test_observed_needs_a_width_and_a_target(refused):
    with refused("latent.y.sigma"):
        _ = Observed().width
    with refused("target"):
        Observed(0.1).log_prob(torch.zeros(1, 1))
    with refused("sigma=0"):
        Observed(0.0)
