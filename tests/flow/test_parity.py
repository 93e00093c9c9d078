"""The same numbers as nflows' own transforms: outputs, log-determinants and all gradients."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from nflows import transforms as theirs
from nflows.transforms.base import CompositeTransform
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from torch import Tensor, nn

from flow.zoo import apply_spline, perturb
from innflow.flow import (
    MLP,
    ActNorm,
    Affine,
    ConvNet,
    Coupling,
    LULinear,
    Orthogonal,
    Permute,
    Spline,
)
from innflow.flow.reshape import Squeeze
from innflow.flow.spline import MIN_SLOPE

UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))
"""nflows' raw slope of a slope of 1; ours is 0."""


class TheirAffine(theirs.AffineCouplingTransform):
    """nflows' affine coupling with our bounded scale and our order of the parameters."""

    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = transform_params.chunk(2, dim=1)
        return torch.exp(2.0 * torch.tanh(raw / 2.0)), shift


class TheirSpline(theirs.PiecewiseRationalQuadraticCouplingTransform):
    """nflows' spline coupling with our offset of the raw slopes."""

    def _piecewise_cdf(self, inputs, transform_params, inverse=False):
        widths, heights, slopes = transform_params.split((6, 6, 5), dim=-1)
        return unconstrained_rational_quadratic_spline(
            inputs, widths, heights, slopes + UNIT_SLOPE, inverse=inverse, tail_bound=2.0
        )


def same(ours, other, shape: tuple[int, ...]) -> None:
    """Check both directions of two transforms, their gradients to inputs and to parameters."""
    ours, other = ours.double(), other.double()
    x = 1.5 * torch.randn(5, *shape, dtype=torch.float64)
    weights = torch.randn(5, dtype=torch.float64)
    results = []
    for transform in (ours, other):
        gathered = []
        for direction in (transform.forward, transform.inverse):
            inputs = x.clone().requires_grad_()
            if direction == transform.inverse:
                inputs = transform(x)[0].detach().requires_grad_()
            outputs, logabsdet = direction(inputs)
            fixed = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64)
            transform.zero_grad()
            ((outputs * fixed.view_as(outputs)).sum() + (logabsdet * weights).sum()).backward()
            gathered += [outputs.detach(), logabsdet.detach(), inputs.grad]
            gathered += [p.grad.clone() for p in transform.parameters()]
        results.append(gathered)
    assert len(results[0]) == len(results[1])
    for mine, yours in zip(*results, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-9, atol=1e-9)


def second_half(features: int) -> Tensor:
    return torch.arange(features) >= features - features // 2


def shared_net(coupling: Coupling):
    """Return nflows' factory of a coupling network: a copy of ours."""
    return lambda inputs, outputs: copy.deepcopy(coupling.net)


def affine_pair(features: int, net: type[nn.Module], hidden) -> tuple[Coupling, TheirAffine]:
    ours = Coupling(features, lambda i, o, context: net(i, o, context, hidden), Affine(2.0))
    perturb(ours)
    return ours, TheirAffine(second_half(features), shared_net(ours))


def spline_pair(features: int, net: type[nn.Module], hidden) -> tuple[Coupling, TheirSpline]:
    univariate = Spline(bins=6, tail=2.0)
    ours = Coupling(features, lambda i, o, context: net(i, o, context, hidden), univariate)
    perturb(ours)
    other = TheirSpline(
        second_half(features), shared_net(ours), num_bins=6, tails="linear", tail_bound=2.0
    )
    return ours, other


def actnorm_pair(features: int) -> tuple[ActNorm, theirs.ActNorm]:
    ours, other = perturb(ActNorm(features)), theirs.ActNorm(features)
    other.load_state_dict({"initialized": torch.tensor(True)}, strict=False)
    with torch.no_grad():
        other.log_scale.copy_(ours.log_scale)
        other.shift.copy_(ours.shift)
    return ours, other


@pytest.mark.parametrize("pair", [affine_pair, spline_pair])
@pytest.mark.parametrize(
    ("shape", "net", "hidden"), [((7,), MLP, (16, 16)), ((5, 2, 3), ConvNet, 8)]
)
def test_couplings(pair, shape, net, hidden):
    same(*pair(shape[0], net, hidden), shape)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
def test_actnorm(shape):
    same(*actnorm_pair(shape[0]), shape)


@pytest.mark.parametrize("shape", [(6,), (4, 2, 3)])
def test_permutation(shape):
    order = torch.randperm(shape[0])
    same(Permute(order), theirs.Permutation(order), shape)


def test_rotation_as_a_product_of_reflections():
    """nflows keeps the reflections, and trains them; the map is the same."""
    ours, other = Orthogonal(5), theirs.HouseholderSequence(5, 5)
    ours.rotation.copy_(other.matrix().detach())
    x = torch.randn(4, 5)
    for mine, yours in ((ours(x), other(x)), (ours.inverse(x), other.inverse(x))):
        torch.testing.assert_close(mine[0], yours[0])
        torch.testing.assert_close(mine[1], yours[1])


def test_squeeze_has_the_channel_order_of_nflows():
    same(Squeeze(), theirs.SqueezeTransform(2), (3, 4, 6))


def test_composite_of_several_steps():
    """ActNorm, permutation, affine and spline coupling, one after the other, twice."""
    ours, other = [], []
    for _ in range(2):
        order = torch.randperm(6)
        for mine, yours in (
            actnorm_pair(6),
            (Permute(order), theirs.Permutation(order)),
            affine_pair(6, MLP, (16,)),
            spline_pair(6, MLP, (16,)),
        ):
            ours.append(mine)
            other.append(yours)
    same(CompositeTransform(ours), CompositeTransform(other), (6,))


def test_lu_linear_is_a_matrix_over_dim_1():
    layer = perturb(LULinear(5)).double()
    x = torch.randn(3, 5, 2, 4, dtype=torch.float64)
    y, logabsdet = layer(x)
    torch.testing.assert_close(y, torch.einsum("ij,njhw->nihw", layer.weight(), x))
    expected = 8 * torch.linalg.slogdet(layer.weight()).logabsdet
    torch.testing.assert_close(logabsdet, expected.expand(3))
    torch.testing.assert_close(layer(x[..., 0, 0])[0], y[..., 0, 0])


@pytest.mark.parametrize("inverse", [False, True])
def test_spline_element_by_element(inverse):
    """Inside, outside and exactly on the knots and on the edges."""
    tail, bins = 3.0, 8
    raw = torch.randn(400, 3 * bins - 1, dtype=torch.float64) * 2
    x = torch.linspace(-4, 4, 400, dtype=torch.float64)
    x[:2] = torch.tensor([-tail, tail])
    sizes = raw[:, bins : 2 * bins] if inverse else raw[:, :bins]
    shares = 1e-3 + (1 - 1e-3 * bins) * sizes.softmax(dim=-1)
    x[2:200] = (shares.cumsum(dim=-1) * 2 * tail - tail)[2:200, 3]
    gradients = []
    for shift, spline in (
        (0.0, lambda *a: apply_spline(*a, tail, inverse=inverse)),
        (
            UNIT_SLOPE,
            lambda *a: unconstrained_rational_quadratic_spline(
                *a, inverse=inverse, tail_bound=tail
            ),
        ),
    ):
        inputs, parameters = x.clone().requires_grad_(), raw.clone().requires_grad_()
        widths, heights, slopes = parameters.split((bins, bins, bins - 1), dim=-1)
        y, log_slope = spline(inputs, widths, heights, slopes + shift)
        weights = torch.linspace(-1, 1, 400, dtype=torch.float64)
        ((y + log_slope) * weights).sum().backward()
        gradients.append((y, log_slope, inputs.grad, parameters.grad))
    for ours, other in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)
