from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from flow.zoo import perturb
from scipy.stats import kstest, norm
from torch import distributions

from innflow import flow
from innflow.app import Generation
from innflow.system.ranks import draw_by_item

SHAPE = (3, 4, 4)
DIMS = 48


def images(n: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8)


def normal_log_prob(pixels: torch.Tensor) -> torch.Tensor:
    """Return the exact log probability of images under N(0, 1) on the dequantized scale."""
    centres = (pixels.double() + 0.5) / 256 - 0.5
    density = distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(centres)
    return density.flatten(1).sum(dim=1) - pixels[0].numel() * math.log(256)


@pytest.fixture(params=["glow", "realnvp", "flat"])
def untrained(request) -> Generation:
    if request.param == "flat":
        return Generation(flow.flat(SHAPE, depth=2, hidden=(8,)))
    return Generation(getattr(flow, request.param)(SHAPE, levels=2, depth=2, hidden=4))


@pytest.fixture
def app(untrained) -> Generation:
    perturb(untrained)
    return untrained


def test_untrained_it_is_the_normal_density_of_the_bin_centres(untrained):
    """Rotations and permutations do not change it; coordinates are pixels / 256 - 1/2."""
    x = images()
    exact = normal_log_prob(x)
    torch.testing.assert_close(untrained.log_prob(x).double(), exact, rtol=1e-6, atol=1e-3)


def test_bits_per_dim_of_uniform_noise_under_the_identity():
    """An image of all 256 values: log 256 plus the mean negative log density of a normal."""
    app = Generation(flow.flat((1, 16, 16), depth=2, hidden=(8,)))
    x = torch.randperm(256).view(1, 1, 16, 16).to(torch.uint8)
    bits = -app.log_prob(x).item() / (256 * math.log(2))
    centred = (sum(((v + 0.5) / 256 - 0.5) ** 2 for v in range(256))) / 256
    assert bits == pytest.approx(8 + 0.5 * (math.log(2 * math.pi) + centred) / math.log(2), 1e-6)


def test_probabilities_of_all_8_bit_images_sum_to_one():
    """Two pixels have few enough values to sum over all of them."""
    app = Generation(flow.flat((1, 1, 2), depth=2, hidden=(8,)))
    perturb(app)
    with torch.no_grad():  # onto the unit square, where the pixels are
        app.flow.levels[0]._transforms[1].log_scale.fill_(3.0)
    axis = torch.arange(256, dtype=torch.uint8)
    every = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    assert app.log_prob(every).exp().sum().item() == pytest.approx(1.0, abs=0.01)


def test_measured_terms_sum_to_log_prob(app):
    x = images()
    measured = app.measure(x)
    torch.testing.assert_close(measured.log_prob, app.log_prob(x), rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(measured.terms.sum(dim=1), measured.log_prob)
    assert measured.terms.shape == (6, len(app.flow.latent_shapes))
    assert torch.equal(measured.latent, app.encode(x))


def test_each_scale_carries_the_volume_of_its_own_dimensions():
    app = Generation(flow.glow(SHAPE, levels=2, depth=1, hidden=4))
    x = images()
    left = app.preprocess({"x": x}, None)["x"]
    normal = distributions.Normal(0.0, 1.0)
    for index, (z, logabsdet) in enumerate(app.flow.terms(left)):
        share = normal.log_prob(z).sum(dim=1) + logabsdet - z.shape[1] * math.log(256)
        torch.testing.assert_close(app.measure(x).terms[:, index], share.detach())


def test_decode_undoes_encode_in_pixels(app):
    x = images()
    back = app.decode(app.encode(x))
    assert back.dtype == torch.float32
    assert (back - x).abs().max() < 0.02  # of 255
    assert torch.equal(back.round().to(torch.uint8), x)


def test_measurements_are_reproducible_bit_by_bit(app):
    x = images()
    first = app.measure(x)
    torch.randn(5)
    again = app.measure(x)
    pairs = zip(first.arrays().values(), again.arrays().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_noise_of_a_seed_repeats_and_differs_from_the_bin_centre(app):
    x = images()
    first = app.log_prob(x, noise_seed=1)
    torch.randn(5)
    assert torch.equal(app.log_prob(x, noise_seed=1), first)
    assert not torch.equal(app.log_prob(x, noise_seed=2), first)
    assert not torch.equal(app.log_prob(x), first)


def test_the_noise_of_an_image_does_not_depend_on_its_batch(app):
    x = images(5)
    alone = torch.cat([app.log_prob(one[None], noise_seed=3) for one in x])
    torch.testing.assert_close(app.log_prob(x, noise_seed=3), alone, rtol=1e-5, atol=1e-3)
    assert torch.equal(draw_by_item(x.float(), 3), draw_by_item(x.float().flip(0), 3).flip(0))
    share = draw_by_item(torch.arange(4000.0)[:, None], 0)
    assert kstest(share.flatten().numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("width", [0.5, 1.0, 4.0])
def test_noise_bounds_the_exact_code_length_and_the_bin_centre_does_not(width):
    """Pixels of a Gaussian of a few grey levels, whose bins have exact probabilities.

    The expectation over the noise has a closed form and is an upper bound by Jensen's inequality.
    Near its mode the density is concave and highest at the centre of a bin, which falls below.
    """
    app = Generation(flow.flat((1, 16, 16), depth=2, hidden=(8,)))
    with torch.no_grad():  # the identity, scaled
        app.flow.levels[0]._transforms[1].log_scale.fill_(math.log(256 / width))

    def bits(levels: np.ndarray, seed: int | None) -> float:
        x = torch.from_numpy(levels).to(torch.uint8)
        return -app.log_prob(x, noise_seed=seed).mean().item() / (256 * math.log(2))

    drawn = np.floor(np.random.default_rng(0).normal(128, width, (40, 1, 16, 16)))
    for levels in (drawn, np.full((40, 1, 16, 16), 128.0)):
        low, high = (levels - 128) / width, (levels - 127) / width
        exact = -np.log2(norm.cdf(high) - norm.cdf(low)).mean()
        square = (high**2 + high * low + low**2) / 3  # its mean over the bin
        bound = (0.5 * square + 0.5 * math.log(2 * math.pi) + math.log(width)).mean() / math.log(2)
        found = np.mean([bits(levels, seed) for seed in range(8)])
        assert found == pytest.approx(bound, abs=0.01 / width)
        assert exact < found
    assert bits(levels, None) < exact


@pytest.mark.parametrize("source", [torch.default_generator, torch.Generator()])
def test_training_noise_fills_the_bin_and_never_leaves_it(app, source):
    x = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, *SHAPE)
    drawn = torch.stack([app.preprocess({"x": x}, source)["x"] for _ in range(50)])
    low = (x.float() / 256 - 0.5)[None]
    assert (drawn >= low).all()
    assert (drawn <= low + 1 / 256).all()
    share = ((drawn - low) * 256).flatten()
    assert abs(float(share.mean()) - 0.5) < 0.02
    assert float(share.min()) < 0.01 < 0.99 < float(share.max())


def test_without_a_noise_source_it_is_the_bin_centre(app):
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, *SHAPE)
    left = app.preprocess({"x": x}, None)["x"]
    assert left[0].unique().tolist() == [0.5 / 256 - 0.5]
    assert left[1].unique().tolist() == [255.5 / 256 - 0.5]
    assert torch.equal(app.preprocessing.postprocess(left), x.float())


def test_samples_are_8_bit_images(app):
    x = app.sample(4, seed=0)
    assert x.dtype == torch.uint8
    assert x.shape == (4, *SHAPE)
    assert torch.equal(app.sample(4, seed=0), x)
    decoded = app.decode(
        app.latent["z"].sample(torch.empty(4, DIMS), generator=torch.Generator().manual_seed(0))
    )
    assert torch.equal(x, decoded.round().clamp(0, 255).to(torch.uint8))


def test_temperature_zero_gives_the_mean(app):
    centre = app.decode(torch.zeros(1, DIMS)).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(app.sample(2, temperature=0.0), centre.expand(2, *SHAPE))


def test_another_size_of_images_is_refused(app, refused):
    with refused("x has shape (2, 3, 8, 8)", "expected (batch, 3, 4, 4)"):
        app.log_prob(torch.full((2, 3, 8, 8), 9.0))
