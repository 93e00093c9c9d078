"""Unconstrained parameters and standardised data: inverses, log-determinants, support."""

from __future__ import annotations

import pytest
import torch

from innflow.app.posterior.coordinates import Standardized, Unconstrained

INF = torch.inf
LOW = torch.tensor([-INF, -2.0, 1.0, -INF, 0.0])
HIGH = torch.tensor([INF, 3.0, INF, 4.0, INF])
DISCRETE = torch.tensor([False, False, False, False, True])


def draws(n: int = 2000) -> torch.Tensor:
    columns = [
        5 + 3 * torch.randn(n),
        -2 + 5 * torch.rand(n),
        1 + torch.randn(n).exp(),
        4 - torch.randn(n).exp(),
        torch.poisson(torch.full((n,), 15.0)),
    ]
    return torch.stack(columns, dim=1)


@pytest.fixture(params=["probit", "logit"])
def units(request):
    units = Unconstrained(5, request.param)
    units.fit(draws(), LOW, HIGH, DISCRETE)
    return units


def test_inverse_undoes_forward(units):
    x = draws(500)
    u, _ = units(x, torch.default_generator)
    assert torch.allclose(units.inverse(u), x, atol=2e-4)


def test_coordinates_are_standardised(units):
    u, _ = units(draws(), None)
    assert u.mean(dim=0).abs().max() < 0.1
    assert (u.std(dim=0) - 1).abs().max() < 0.1


def test_log_determinant_is_that_of_autograd(units):
    x = draws(20).double()
    units = units.double()
    _, volume = units(x, None)
    for row, expected in zip(x, volume, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: units(r[None], None)[0][0], row)
        assert torch.isclose(torch.linalg.slogdet(jacobian).logabsdet, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_the_inverse_always_lies_in_the_support(units, size):
    x = units.inverse(size * torch.randn(4000, 5))
    bounded = x[:, [1, 4]]
    assert (bounded >= LOW[[1, 4]]).all()
    assert (bounded[:, 0] <= 3).all()
    assert (x[:, 2] >= 1).all()
    assert (x[:, 3] <= 4).all()
    whole = x[:, 4]
    assert torch.equal(whole, whole.round())


def test_a_uniform_prior_is_standard_normal_in_probit_coordinates():
    units = Unconstrained(1)
    x = torch.rand(50_000, 1)
    units.fit(x, torch.zeros(1), torch.ones(1), torch.zeros(1, dtype=torch.bool))
    u, _ = units(x, None)
    assert abs(float(u.square().mean()) - 1) < 0.02
    assert abs(float(u.pow(4).mean()) - 3) < 0.15


def test_values_on_the_edge_of_an_interval_stay_finite(units):
    x = draws(4)
    x[0, 1], x[1, 1] = -2.0, 3.0
    u, volume = units(x, None)
    assert u.isfinite().all()
    assert volume.isfinite().all()


def test_integers_are_dequantized_by_noise_in_training_and_by_half_in_evaluation(units):
    x = draws(100)
    repeat, _ = units(x, None)
    assert torch.equal(repeat, units(x, None)[0])
    noisy, _ = units(x, torch.default_generator)
    assert torch.equal(noisy[:, :4], repeat[:, :4])
    assert not torch.equal(noisy[:, 4], repeat[:, 4])


def test_a_parameter_that_never_varies_is_refused(refused):
    x = draws(50)
    x[:, 0] = 3.0
    with refused("[0]", "same in every simulation"):
        Unconstrained(5).fit(x, LOW, HIGH, DISCRETE)


def test_an_unknown_map_is_refused(refused):
    with refused("bounded='log'", "probit or logit"):
        Unconstrained(2, "log")  # type: ignore[arg-type]


def test_data_are_standardised_and_only_heavy_columns_compressed():
    y = torch.randn(20_000, 3) * torch.tensor([1.0, 100.0, 1.0])
    y[:, 2] = y[:, 2].sinh() ** 5
    units = Standardized(3)
    units.fit(y)
    assert units.heavy.tolist() == [False, False, True]
    scaled = units(y)
    assert torch.allclose(scaled[:, :2], (y / y.std(dim=0))[:, :2], atol=0.05)
    assert scaled[:, 2].abs().max() < 20
    order = y[:, 2].argsort()
    assert (scaled[order, 2].diff() >= 0).all()


def test_a_constant_observable_keeps_its_unit():
    units = Standardized(2)
    units.fit(torch.stack([torch.randn(100), torch.full((100,), 7.0)], dim=1))
    assert units(torch.tensor([[0.0, 7.0], [0.0, 8.0]]))[:, 1].tolist() == [0.0, 1.0]


def test_positive_data_over_decades_are_standardised_as_logarithms():
    torch.manual_seed(0)
    log = 2 * torch.randn(2000, 1)
    near_one, count = 5 + torch.rand(2000, 1), torch.poisson(torch.full((2000, 1), 3.0))
    y = torch.cat([log.exp(), near_one, count, -log.exp()], dim=1)
    units = Standardized(4)
    units.fit(y)
    assert not units.positive.any()
    units.fit(y, logarithms=True)
    assert units.positive.tolist() == [True, False, False, False]
    assert torch.allclose(units(y)[:, :1], (log - log.mean()) / log.std(), atol=1e-4)
    below = units(torch.tensor([[-1.0, 5.0, 3.0, -1.0], [0.0, 5.0, 3.0, -1.0]]))
    assert below.isfinite().all()
    assert (below[:, 0] < units(y)[:, 0].min()).all()


@pytest.mark.parametrize("missing", [False, True])
def test_logarithms_of_data_are_announced(missing, capsys):
    y = torch.linspace(0, 5, 200)[:, None].exp() * torch.ones(2)
    y[:, 1] = 1.0 / 3
    y[0, 0] = torch.nan if missing else 1.0
    units = Standardized(2)
    units.fit_channels(y, torch.arange(2))
    assert not capsys.readouterr().out
    units.fit_channels(y, torch.arange(2), logarithms=True)
    assert "1 of 2 columns of y are positive" in capsys.readouterr().out


def test_the_slope_is_that_of_standardised_by_raw_data_at_the_median():
    torch.manual_seed(0)
    y = torch.cat(
        [torch.randn(3000, 1).exp() ** 2, torch.randn(3000, 1), torch.randn(3000, 1) ** 9], dim=1
    )
    units = Standardized(3)
    units.fit(y, logarithms=True)
    assert units.positive.tolist() == [True, False, False]
    assert units.heavy.tolist()[1:] == [False, True]
    median = y.median(dim=0).values
    step = 1e-3 * units.slope().reciprocal()
    slope = (units(median + step) - units(median - step)) / (2 * step)
    assert torch.allclose(units.slope(), slope, rtol=0.02)
