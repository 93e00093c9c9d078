"""The gravity of a basin against quadrature, the slab formula and a Markov chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from innflow.errors import InnflowError
from innflow.problem import gravity, gravity_linear
from innflow.problem.sampler.laplace import find_laplace, make_misfit

UNIT = 2 * 6.6743e-11 * 1e5 * -400  # mGal per m
CENTRES = np.arange(32) - 15.5
STATIONS = np.linspace(-15, 15, 12)
FACTOR = np.linalg.cholesky(gravity.LOG_COVARIANCE)


def anomaly(depth):
    """Integrate the attraction z / (x^2 + z^2) over one station and all columns, in mGal."""

    def column(left, bottom):
        return quad(
            lambda z: np.arctan((left + 1000) / z) - np.arctan(left / z), 0, bottom, epsabs=1e-10
        )[0]

    lefts = 1000 * (CENTRES - 0.5 - STATIONS[:, None])
    return [UNIT * sum(column(a, d) for a, d in zip(row, depth, strict=True)) for row in lefts]


def forward(w):
    """Return the anomaly of white coordinates (B, 32)."""
    depth = gravity.BACKGROUND * np.exp(w @ FACTOR.T)
    return gravity.forward(torch.from_numpy(depth)).numpy()


@pytest.mark.parametrize("problem", [gravity, gravity_linear])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns(problem, dtype):
    x = problem.prior.sample((5,)).to(dtype)
    assert problem.prior.event_shape == (len(problem.PARAMETERS),)
    assert problem.forward(x).shape == (5, len(problem.OBSERVABLES))
    assert problem.forward(x).dtype == dtype
    torch.testing.assert_close(
        problem.forward(x).double(), problem.forward(x.double()), atol=2e-4, rtol=0
    )


def test_prisms_by_quadrature():
    depth = gravity.prior.sample().double()
    computed = gravity.forward(depth[None])[0].numpy()
    np.testing.assert_allclose(computed, anomaly(depth.numpy()), rtol=1e-7)


def test_one_prism():
    """A column 1.8 km deep, the middle of which lies 0.5 km from the station at -15 km."""
    depth = torch.zeros(1, 32, dtype=torch.float64)
    depth[0, 0] = 1800
    expected = UNIT * quad(lambda z: np.arctan(1000 / z), 0, 1800)[0]
    assert abs(gravity.forward(depth)[0, 0].item() - expected) < 1e-8


def test_slab():
    """A sheet thin beside its width attracts as the infinite Bouguer slab does."""
    middle = gravity.forward(torch.full((1, 32), 2.0, dtype=torch.float64))[0, 5].item()
    assert abs(middle / 2 * 2000 + 33.5487) < 0.01


def test_gradient():
    """Three stations stand on an edge of a column, where the formula must not divide by 0."""
    depth = gravity.prior.sample().double()
    jacobian = torch.autograd.functional.jacobian(lambda x: gravity.forward(x[None])[0], depth)
    np.testing.assert_allclose(jacobian, gravity.sensitivity(depth.numpy()), rtol=1e-9)


def test_prior():
    torch.manual_seed(0)
    depth = gravity.prior.sample((20_000,))
    log = torch.log(depth / torch.from_numpy(gravity.BACKGROUND)).numpy()
    assert gravity.prior.support.check(depth).all()
    assert not gravity.prior.support.check(-depth).any()
    np.testing.assert_allclose(log.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(log.std(axis=0), 0.3, rtol=0.03)
    root = np.sqrt(3) / 4
    assert abs(np.corrcoef(log[:, 10], log[:, 11])[0, 1] - (1 + root) * np.exp(-root)) < 0.01
    y = gravity.forward(depth)
    assert -39 < y.mean(0).min() < -37
    assert -10 < y.mean(0).max() < -8.5
    assert 2.4 < y.std(0).min() < 2.6
    assert 7.6 < y.std(0).max() < 8.0


@pytest.mark.parametrize(("noise", "freedom"), [(0.01, 12.0), (0.1, 11.8), (0.5, 9.5)])
def test_effective_degrees_of_freedom(noise, freedom):
    white = gravity.sensitivity(gravity.BACKGROUND) * gravity.BACKGROUND @ FACTOR / noise
    square = np.linalg.svd(white, compute_uv=False) ** 2
    assert abs(np.sum(square / (1 + square)) - freedom) < 0.06


def test_posterior_against_a_markov_chain():
    """The chain's steps leave the Laplace approximation as it is, so most are accepted."""
    rng = np.random.default_rng(3)
    noise = np.tri(12) * 0.03 + 0.07 * np.eye(12)
    y = forward(rng.standard_normal((1, 32)))[0] + noise @ rng.standard_normal(12)
    drawn = gravity.posterior(y, 3000, rng, noise)
    assert drawn.shape == (3000, 32)
    assert len(np.unique(drawn[:, 0])) > 2700
    f = np.log(drawn / gravity.BACKGROUND)
    assert 0.03 < f.std(axis=0).mean() < 0.06

    misfit = make_misfit(forward, y, noise)
    laplace = find_laplace(misfit, 32)
    factor = np.linalg.cholesky(laplace.shape)

    def surplus(v):
        w = laplace.loc + v @ factor.T
        return ((v**2).sum(1) - (w**2).sum(1) - (misfit(w) ** 2).sum(1)) / 2

    v, kept = rng.standard_normal((400, 32)), []
    level = surplus(v)
    for step in range(240):
        trial = np.sqrt(1 - 0.35**2) * v + 0.35 * rng.standard_normal(v.shape)
        trial_level = surplus(trial)
        accepted = np.log(rng.random(len(v))) < trial_level - level
        v[accepted], level[accepted] = trial[accepted], trial_level[accepted]
        if step >= 80 and step % 20 == 19:
            kept.append(laplace.loc + v @ factor.T)
    chain = np.concatenate(kept) @ FACTOR.T
    sd = chain.std(axis=0)
    np.testing.assert_array_less(np.abs(f.mean(axis=0) - chain.mean(axis=0)), 0.12 * sd)
    assert abs((f.std(axis=0) / sd).mean() - 1) < 0.04
    gap = np.corrcoef(f.T) - np.corrcoef(chain.T)
    assert np.sqrt((gap**2).mean()) < 0.05


def test_posterior_needs_noise():
    with pytest.raises(InnflowError, match="give a standard deviation above 0"):
        gravity.posterior(np.zeros(12), 10, np.random.default_rng(0), None)


def test_sheets_by_quadrature():
    def sheet(x, station):
        return quad(lambda u: 1500 / ((u - 1000 * station) ** 2 + 1500**2), x - 500, x + 500)[0]

    depth = gravity_linear.prior.sample().double()
    expected = [
        UNIT * sum(d * sheet(1000 * x, s) for d, x in zip(depth.numpy(), CENTRES, strict=True))
        for s in STATIONS
    ]
    np.testing.assert_allclose(gravity_linear.forward(depth[None])[0], expected, rtol=1e-9)


@pytest.mark.parametrize("noise", [0.1 * np.eye(12), None], ids=["noise", "none"])
def test_linear_posterior(noise):
    rng = np.random.default_rng(0)
    matrix, prior = gravity_linear.MODEL.matrix, gravity_linear.MODEL.covariance
    y = matrix @ gravity_linear.prior.sample().double().numpy()
    x = gravity_linear.posterior(y, 50_000, rng, noise)
    total = matrix @ prior @ matrix.T + (0 if noise is None else noise @ noise.T)
    gain = prior @ matrix.T @ np.linalg.inv(total)
    mean = gravity.BACKGROUND + gain @ (y - matrix @ gravity.BACKGROUND)
    sd = np.sqrt(np.diag(prior - gain @ matrix @ prior))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 0.025 * sd)
    np.testing.assert_allclose(x.std(axis=0), sd, rtol=0.02)
