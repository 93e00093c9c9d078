"""The rational-quadratic spline at its edges, knots and far outside."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from flow.zoo import apply_spline
from innflow.flow import Spline
from innflow.flow.fused import spline as fused_spline

TAIL = 3.0


def parameters(n: int, bins: int = 8, scale: float = 1.0, dtype=torch.float64):
    """Return the raw parameters of n splines, the same for all."""
    widths, heights, slopes = (
        (scale * torch.randn(size, dtype=dtype)).expand(n, size) for size in (bins, bins, bins - 1)
    )
    return widths, heights, slopes


def knots(widths):
    shares = 1e-3 + (1 - 1e-3 * widths.shape[-1]) * widths.softmax(dim=-1)
    return torch.cat((torch.zeros(1), shares[0].cumsum(dim=0))) * 2 * TAIL - TAIL


@pytest.mark.parametrize("inverse", [False, True])
def test_outside_the_tails_it_is_exactly_the_identity(inverse):
    x = torch.tensor([-1e30, -1e6, -TAIL - 1e-12, TAIL + 1e-12, 10.0, 1e6, 1e30])
    x = x.double()
    raw = parameters(len(x))
    y, log_slope = apply_spline(x, *raw, TAIL, inverse=inverse)
    outside = x.abs() > TAIL
    assert torch.equal(y[outside], x[outside])
    assert torch.equal(log_slope[outside], torch.zeros_like(x)[outside])


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_are_fixed_points(inverse, dtype):
    x = torch.tensor([-TAIL, TAIL], dtype=dtype)
    y, log_slope = apply_spline(x, *parameters(2, dtype=dtype), TAIL, inverse=inverse)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-5, rtol=0)


def test_is_monotone_and_continuous_across_knots_and_tails():
    x = torch.linspace(-4, 4, 20001, dtype=torch.float64)
    y, log_slope = apply_spline(x, *parameters(len(x), scale=2.0), TAIL)
    rise = y.diff()
    assert (rise > 0).all()
    # The slope is continuous, so the rise over a step is as steep as one of its two ends, nearly.
    slope = (rise / x.diff()).log()
    assert (slope < torch.maximum(log_slope[1:], log_slope[:-1]) + 0.05).all()
    assert (slope > torch.minimum(log_slope[1:], log_slope[:-1]) - 0.05).all()


def test_a_raw_slope_of_zero_is_the_identity():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    zeros = torch.zeros(101, 8, dtype=torch.float64)
    y, log_slope = apply_spline(x, zeros, zeros, zeros[:, 1:], TAIL)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_on_knots_on_edges_and_far_outside(inverse, dtype):
    raw = [p[:1].clone() for p in parameters(1, dtype=dtype)]
    table = knots(raw[1] if inverse else raw[0]).to(dtype)
    x = torch.cat((table, torch.tensor([-1e6, 1e6, 1e30, 0.0], dtype=dtype))).requires_grad_()
    raw = [p.expand(len(x), -1).clone().requires_grad_() for p in raw]
    y, log_slope = apply_spline(x, *raw, TAIL, inverse=inverse)
    (y.clamp(-1e6, 1e6).sum() + log_slope.sum()).backward()
    for tensor in (y, log_slope, x.grad, *(p.grad for p in raw)):
        assert tensor.isfinite().all()


def test_inverse_is_finite_for_extreme_parameters_in_single_precision():
    """Rounding makes the discriminant negative here: nflows asserts, a bare root gives NaN."""
    for seed in range(3):
        torch.manual_seed(seed)
        raw = [(30 * torch.randn(1000, size)).requires_grad_() for size in (8, 8, 7)]
        y = ((2 * torch.rand(1000) - 1) * TAIL).requires_grad_()
        x, log_slope = apply_spline(y, *raw, TAIL, inverse=True)
        (x.sum() + log_slope.sum()).backward()
        for tensor in (x, log_slope, y.grad, *(p.grad for p in raw)):
            assert tensor.isfinite().all()
        assert (x.abs() <= TAIL * (1 + 1e-6)).all()


def test_round_trip_in_single_precision_with_steep_bins():
    raw = [2 * torch.randn(5000, size) for size in (8, 8, 7)]
    x = 4 * torch.randn(5000)
    y, log_slope = apply_spline(x, *raw, TAIL)
    back, inverse_log_slope = apply_spline(y, *raw, TAIL, inverse=True)
    # An error of the last bit of y comes back multiplied by dx/dy.
    slack = 1e-5 * (1 + inverse_log_slope.exp())
    assert ((back - x).abs() < slack).all()
    assert ((log_slope + inverse_log_slope).abs() < 1e-3 * (1 + inverse_log_slope.exp())).all()


def test_parameters_of_a_feature_stand_together():
    """Feature i has the parameters i * P to (i + 1) * P: what a trained checkpoint relies on."""
    spline = Spline(bins=4, tail=TAIL)
    assert spline.parameters == 11
    raw = torch.randn(1, 22)
    x = torch.tensor([[0.3, -0.7]])
    y, _ = spline.forward(x, raw)
    widths, heights, slopes = raw.view(2, 11).split((4, 4, 3), dim=1)
    expected, _ = apply_spline(x[0], widths, heights, slopes, TAIL)
    torch.testing.assert_close(y[0], expected)


@pytest.mark.parametrize(("bins", "tail"), [(1, 3.0), (1000, 3.0), (8, 0.0), (8, -1.0)])
def test_bad_arguments(bins, tail, refused):
    with refused(f"bins={bins}, tail={tail}", "must be 2 <= bins < 1000, tail > 0"):
        Spline(bins=bins, tail=tail)


@pytest.mark.parametrize("bins", [2, 3, 8])
def test_written_gradient_agrees_with_autograd(bins):
    x = torch.cat((5 * torch.randn(400), torch.tensor([-3.0, 3.0, 0.0, 9.0, -9.0]))).double()
    x = x.unflatten(0, (-1, 3))
    spline = Spline(bins, 3.0)
    raw = torch.randn(len(x), 3 * spline.parameters, dtype=torch.float64)
    weights = torch.randn(2, *x.shape, dtype=torch.float64)
    results = []
    for function in (partial(fused_spline.forward, spline), spline.forward):
        left, right = x.clone().requires_grad_(), raw.clone().requires_grad_()
        y, log_slope = function(left, right)
        (weights[0] * y + weights[1] * log_slope).sum().backward()
        results.append((y, log_slope, left.grad, right.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


LAYOUTS = {
    "items first": ((5, 3), (5, 33), lambda t: t),
    "items last": ((5, 3), (5, 33), lambda t: t.t().contiguous().t()),
    "pixels last": ((5, 3, 2, 4), (5, 33, 2, 4), lambda t: t),
    "channels last": (
        (5, 3, 2, 4),
        (5, 33, 2, 4),
        lambda t: t.contiguous(memory_format=torch.channels_last),
    ),
    "one item": ((1, 3), (1, 33), lambda t: t),
    "signal": ((5, 3, 7), (5, 33, 7), lambda t: t),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_fused_spline_agrees_for_every_memory_layout(name):
    shape, table, lay = LAYOUTS[name]
    x, parameters = torch.randn(shape).double(), torch.randn(table).double()
    spline = Spline(bins=4, tail=TAIL)
    results = []
    for forward, raw in (
        (partial(fused_spline.forward, spline), lay(parameters)),
        (spline.forward, parameters),
    ):
        values, raw = x.clone().requires_grad_(), raw.detach().requires_grad_()
        y, log_slope = forward(values, raw)
        (y.sum() + log_slope.square().sum()).backward()
        results.append((y, log_slope, values.grad, raw.grad))
    torch.testing.assert_close(results[0], results[1])
    back, log_back = fused_spline.inverse(spline, results[0][0], lay(parameters))
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_back, -results[0][1])
