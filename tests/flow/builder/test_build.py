"""Builders: flows of common sizes, and refused arguments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from flow.zoo import perturb
from innflow.flow import (
    MLP,
    Affine,
    ConvNet,
    Coupling,
    CouplingFlow,
    Permute,
    Spline,
    flat,
    glow,
    realnvp,
    vector,
)


def log_prob(flow: CouplingFlow, x: torch.Tensor) -> torch.Tensor:
    z, logabsdet = flow(x)
    normal = -0.5 * (z.square() + math.log(2 * math.pi))
    return normal.sum(dim=1) + logabsdet


@pytest.mark.parametrize("coupling", ["affine", "spline", Spline(bins=4, tail=2.0)])
def test_the_density_integrates_to_one(coupling):
    flow = perturb(vector(2, depth=4, hidden=(16, 16), coupling=coupling))
    with torch.no_grad():
        cloud, _ = flow.inverse(torch.randn(20_000, 2))
        low, high = cloud.min(dim=0).values - 2, cloud.max(dim=0).values + 2
        axes = [torch.linspace(float(a), float(b), 500) for a, b in zip(low, high, strict=True)]
        grid = torch.cartesian_prod(*axes)
        cell = float((high - low).prod()) / 499**2
        total = log_prob(flow, grid).exp().sum() * cell
    assert abs(float(total) - 1) < 0.01


def test_log_prob_of_samples_agrees_with_the_inverse_pass():
    """E[log p] over samples is the negative entropy that the change of variables gives."""
    flow = perturb(vector(2, depth=4, hidden=(16,), coupling="spline"))
    with torch.no_grad():
        z = torch.randn(4000, 2)
        x, logabsdet = flow.inverse(z)
        exact = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1) - logabsdet
    torch.testing.assert_close(log_prob(flow, x), exact, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("make", [glow, realnvp])
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_round_trip_of_an_image_flow_of_full_size(make, coupling):
    flow, x = make(coupling=coupling), torch.rand(2, 3, 32, 32) - 0.5
    flow.initialise(x)
    perturb(flow, size=0.2)
    with torch.no_grad():
        z, logabsdet = flow(x)
        back, inverse_logabsdet = flow.inverse(z)
    assert z.shape == (2, 3072)
    assert (back - x).abs().max() < 1e-4
    assert (logabsdet + inverse_logabsdet).abs().max() < 1e-2  # of thousands


@pytest.mark.parametrize("coupling", ["affine", "spline"])
@pytest.mark.parametrize("make", [vector, flat])
def test_round_trip_of_a_flat_flow_of_full_size(make, coupling):
    flow = perturb(make((48,) if make is vector else (3, 4, 4), coupling=coupling), size=0.2)
    x = torch.randn(64, *flow.shape)
    with torch.no_grad():
        assert (flow.inverse(flow(x)[0])[0] - x).abs().max() < 1e-4


@pytest.mark.parametrize("make", [glow, realnvp])
def test_scales_of_an_image_flow(make):
    flow = make((3, 32, 32), levels=3, depth=1, hidden=4)
    assert flow.latent_shapes == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]
    assert flow.features == 3072


def test_half_of_the_channels_leave_after_a_level_and_are_what_it_changed_last():
    """Latent 0 is untouched by level 1, and its distribution depends on what stays."""
    flow = perturb(glow((1, 4, 4), levels=2, depth=1, hidden=4)).double()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    first, deepest = (z for z, _ in flow.terms(x))
    whole, _ = flow.levels[0](x)
    kept, finished = whole.chunk(2, dim=1)
    assert torch.equal(finished.flatten(1), first)
    assert torch.equal(flow.levels[1](kept)[0].flatten(1), deepest)
    z, _ = flow(x)
    assert torch.equal(z, torch.cat((first, deepest), dim=1))


def test_depth_and_width_may_differ_from_level_to_level():
    flow = glow((1, 8, 8), levels=3, depth=(1, 2, 3), hidden=(4, 6, 8))
    couplings = [[m for m in level.modules() if isinstance(m, Coupling)] for level in flow.levels]
    assert [len(found) for found in couplings] == [1, 2, 3]
    assert [found[0].net.layers[0].out_channels for found in couplings] == [4, 6, 8]


def test_realnvp_masks_alternate_and_end_in_checkerboards():
    flow = realnvp((1, 8, 8), levels=2, depth=4, hidden=4)
    names = [
        [type(m).__name__ for m in level._transforms if "Coupling" in type(m).__name__]
        for level in flow.levels
    ]
    assert names == [["MaskedCoupling"] * 2 + ["Coupling"] * 2, ["MaskedCoupling"] * 4]
    masks = [m.mask for m in flow.levels[1]._transforms if hasattr(m, "mask")]
    assert torch.equal(masks[0], ~masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(
    "flow",
    [
        lambda net: vector(4, depth=1, subnet=net(MLP), hidden=(5,)),
        lambda net: flat((1, 2, 2), depth=1, subnet=net(MLP), hidden=(5,)),
        lambda net: glow((1, 4, 4), levels=1, depth=1, subnet=net(ConvNet), hidden=5),
    ],
)
def test_builders_use_the_given_network(flow):
    made: list[nn.Module] = []

    def net(kind):
        def make(*args, hidden, context=0):
            made.append(kind(*args, hidden=hidden, context=context))
            return made[-1]

        return make

    built = flow(net)
    assert len(made) == 1
    assert made[0] in list(built.modules())


def test_builders_take_a_univariate_object():
    univariate = Affine(bound=0.5)
    flow = vector(4, depth=2, hidden=(4,), coupling=univariate)
    assert all(m.univariate is univariate for m in flow.modules() if isinstance(m, Coupling))


@pytest.mark.parametrize(
    ("features", "sizes"), [(1, (0, 1)), (2, (1, 1)), (6, (5, 1)), (7, (4, 3))]
)
def test_couplings_change_one_of_few_features_at_a_time(features, sizes):
    flow = vector(features, depth=features, hidden=(4,), context=3, changed="auto")
    assert {m.sizes for m in flow.modules() if isinstance(m, Coupling)} == {sizes}


def test_couplings_that_change_one_feature_change_all_in_turn():
    flow = vector(5, depth=5, hidden=(4,), changed="auto")
    perturb(flow)
    x = torch.randn(3, 5)
    order = [m.order for m in flow.modules() if isinstance(m, Permute)]
    place, changed = torch.arange(5), []
    for permutation in order:
        place = place[permutation]
        changed.append(int(place[-1]))
    assert sorted(changed) == [0, 1, 2, 3, 4]
    torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, rtol=1e-4, atol=1e-4)


def test_repr_states_shapes_couplings_and_parameters():
    flow = glow((3, 8, 8), levels=2, depth=2, hidden=4)
    parameters = sum(p.numel() for p in flow.parameters())
    assert repr(flow) == (
        f"CouplingFlow(3x8x8 <-> 6x4x4 + 24x2x2, 4 couplings, {parameters:,} parameters)"
    )


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: vector(0), ("features=0", "at least 1")),
        (lambda: vector(1), ("features=1", "at least 2")),
        (lambda: vector(4, depth=0), ("vector flow", "depth=0")),
        (lambda: vector(4, hidden=()), ("hidden=[]",)),
        (lambda: vector(4, coupling="cubic"), ("coupling='cubic'", "affine or spline")),
        (lambda: flat((1, 4, 4), depth=-1), ("flat flow", "depth=-1")),
        (lambda: flat((1, 4, 4), coupling="cubic"), ("coupling='cubic'",)),
        (lambda: glow((3, 30, 32), levels=2), ("30x32", "divisible by 4")),
        (lambda: glow((3, 32, 20), levels=3), ("32x20", "divisible by 8")),
        (lambda: glow((3, 32, 32), levels=0), ("levels=0",)),
        (lambda: glow((0, 32, 32)), ("channels=0",)),
        (lambda: glow((2,)), ("shape=(2,)", "(channels, height, width)")),
        (lambda: glow(depth=0), ("depth=[0, 0, 0]", ">= 1")),
        (lambda: glow(depth=(1, 2)), ("depth=[1, 2]", "levels=3")),
        (lambda: glow(hidden=(8, 8, 8, 8)), ("hidden=[8, 8, 8, 8]", "levels=3")),
        (lambda: glow(hidden=(8, 0, 8)), ("hidden=[8, 0, 8]",)),
        (lambda: glow(coupling="cubic"), ("coupling='cubic'", "affine or spline")),
    ],
)
def test_bad_arguments_are_refused_in_one_line(make, fragments, refused):
    with refused(*fragments):
        make()
