"""The normal distribution fitted to latents, and samples drawn from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import innflow
from innflow import flow
from innflow.app import Generation
from innflow.latent import PrincipalNormal
from innflow.latent.principal import DETAIL

WIDE = np.array([4.0, 3.0] + [0.5] * 10, dtype=np.float32)


@pytest.fixture(scope="module")
def turned() -> np.ndarray:
    """An orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0].astype(np.float32)


@pytest.fixture(scope="module")
def fitted(turned) -> PrincipalNormal:
    z = np.random.default_rng(0).normal(size=(4000, 12)).astype(np.float32) * WIDE
    return PrincipalNormal.fit(z @ turned + 2, 2)


def test_the_widest_directions_and_their_deviations_are_found(fitted, turned):
    assert fitted.deviations.numpy() == pytest.approx(WIDE[:2], rel=0.05)
    assert np.abs(fitted.axes.numpy() @ turned.T)[[0, 1], [0, 1]] == pytest.approx(1, abs=0.01)
    assert fitted.mean.numpy() == pytest.approx(2, abs=0.2)


def test_draws_have_the_covariance_of_both_subspaces(fitted):
    drawn = fitted.transform(torch.randn(200_000, 12, generator=torch.manual_seed(0)))
    cov = torch.cov(drawn.T)
    own = fitted.axes.T @ fitted.deviations.square().diag() @ fitted.axes
    rest = torch.eye(12) - fitted.axes.T @ fitted.axes
    assert torch.allclose(cov, own + DETAIL**2 * rest, atol=0.15)
    assert torch.allclose(drawn.mean(0), fitted.mean, atol=0.05)


def test_temperature_scales_all_deviations(fitted):
    noise = torch.randn(5, 12)
    cool = fitted.transform(0.5 * noise) - fitted.mean
    assert torch.allclose(cool, 0.5 * (fitted.transform(noise) - fitted.mean), atol=1e-5)


def test_few_items_limit_the_components():
    assert PrincipalNormal.fit(np.random.default_rng(0).normal(size=(20, 30)), 200).axes.shape == (
        5,
        30,
    )


def test_images_are_drawn_from_it_unless_exact(turned):
    app = Generation(flow.glow((3, 2, 2), levels=1, depth=1, hidden=4)).eval()
    plain = app.sample(3, seed=0)
    app.fitted_latents = PrincipalNormal(
        torch.zeros(12), torch.from_numpy(turned[:2]), torch.ones(2)
    )
    assert torch.equal(app.sample(3, seed=0, exact=True), plain)
    drawn = app.fitted_latents.transform(app.draw_latents(3, seed=0))
    expected = app.preprocessing.quantize(app.decode(drawn))
    assert torch.equal(app.sample(3, seed=0), expected)
    assert not torch.equal(expected, plain)


def test_images_far_outside_of_the_grey_levels_are_drawn_again(monkeypatch):
    app = Generation(flow.glow((3, 2, 2), levels=1, depth=1, hidden=4)).eval()
    app.fitted_latents = PrincipalNormal(torch.zeros(12), torch.eye(12)[:2], torch.ones(2))
    usual, counts = app.sample(4, seed=0), []
    decode = app.decode

    def explode(z):
        x = decode(z)
        counts.append(len(z))
        if len(counts) == 1:
            x[1, 0, 0, 0], x[3, 0, 0, 0] = 400.0, torch.nan
        return x

    monkeypatch.setattr(app, "decode", explode)
    drawn = app.sample(4, seed=0)
    assert counts == [4, 2]
    assert torch.equal(drawn[[0, 2]], usual[[0, 2]])
    assert not torch.equal(drawn[1], usual[1])
    monkeypatch.setattr(app, "decode", lambda z: torch.full((len(z), 3, 2, 2), 1e4))
    assert (app.sample(2, seed=0) == 255).all()  # in the end it is clipped


def test_a_file_is_read_as_written_and_a_wrong_one_refused(fitted, tmp_path, refused):
    path = tmp_path / "latents.npz"
    fitted.save(path)
    back = PrincipalNormal.load(path, 12)
    assert all(torch.equal(getattr(back, k), getattr(fitted, k)) for k in ("mean", "axes"))
    with refused(str(path), "expected finite float32 (13,)"):
        PrincipalNormal.load(path, 13)
    path.write_bytes(path.read_bytes()[:100])
    with refused(str(path), "damaged"):
        PrincipalNormal.load(path, 12)


def test_a_run_keeps_it_for_its_samples(image_run):
    app = innflow.load(image_run)
    assert app.fitted_latents.axes.shape[1] == app.dims
    assert not torch.equal(app.sample(2, seed=0), app.sample(2, seed=0, exact=True))
