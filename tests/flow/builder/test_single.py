"""Builders of one scale and the dense Glow: which layers, what they read, what they refuse."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.func import jacrev

from flow.zoo import perturb
from innflow.flow import (
    ActNorm,
    Coupling,
    LULinear,
    MaskedCoupling,
    Orthogonal,
    Patchwise,
    dense,
    maps,
    masked,
    patches,
)
from innflow.flow.reshape import Squeeze


def kinds(flow, *types):
    return [type(m).__name__ for m in flow.modules() if isinstance(m, types)]


def test_a_masked_flow_has_one_scale_and_cycles_through_its_masks():
    flow = masked((2, 5, 4), depth=5, hidden=2)
    couplings = [m for m in flow.modules() if isinstance(m, MaskedCoupling)]
    assert kinds(flow, ActNorm, MaskedCoupling, Squeeze) == ["ActNorm", "MaskedCoupling"] * 5
    assert flow.latent_shapes == [(2, 5, 4)]
    assert torch.equal(couplings[0].mask, couplings[4].mask)
    for before, after in pairwise(couplings):
        assert torch.equal(before.changes, after.mask)


def test_flow_on_maps_keeps_positions():
    """The latent of a place depends on places near it: two pixels for each coupling."""
    flow = maps((4, 7, 9), depth=1, hidden=4)
    assert kinds(flow, ActNorm, LULinear, Coupling, Squeeze) == ["ActNorm", "LULinear", "Coupling"]
    assert flow.latent_shapes == [(4, 7, 9)]
    flow = perturb(flow).double()
    x = torch.randn(1, 4, 7, 9, dtype=torch.float64)
    moved = x.clone()
    moved[0, :, 3, 4] += 1
    change = (flow(moved)[0] - flow(x)[0]).view(4, 7, 9)
    felt = (change != 0).any(dim=0)
    assert felt[3, 4]
    assert not felt[:, :2].any()
    assert not felt[:, 7:].any()
    assert not felt[0].any()
    assert not felt[6].any()


def test_patches_are_independent_and_transformed_equally():
    flow = perturb(patches((1, 8, 4), patch=4, depth=2, hidden=4)).double()
    x = torch.randn(1, 1, 8, 4, dtype=torch.float64)
    jacobian = jacrev(lambda v: flow(v)[0].view(4, 4, 2))(x)[:, :, :, 0, 0]
    upper, lower = jacobian[:, :2], jacobian[:, 2:]
    assert (upper[..., 4:, :] == 0).all()
    assert (lower[..., :4, :] == 0).all()
    assert (upper[..., :4, :] != 0).any(dim=0).all()
    assert (lower[..., 4:, :] != 0).any(dim=0).all()
    twice = x[:, :, :4].repeat(1, 1, 2, 1)
    z, logabsdet = flow(twice)
    halves = z.view(4, 2, 2, 2)
    torch.testing.assert_close(halves[:, 0], halves[:, 1], rtol=0, atol=1e-12)
    alone = patches((1, 4, 4), patch=4, depth=2, hidden=4).double()
    alone.load_state_dict(flow.state_dict())
    torch.testing.assert_close(logabsdet, 2 * alone(x[:, :, :4])[1])


def test_outputs_are_placed_in_the_order_of_the_patches():
    grid = Patchwise(torch.nn.Identity(), 2, 3)
    x = torch.arange(2 * 2 * 4 * 9).view(2, 2, 4, 9)
    cut = grid.split(x)
    assert cut.shape == (12, 2, 2, 3)
    assert torch.equal(cut[4], x[0, :, 2:, 3:6])  # row 1, column 1 of the first image
    assert torch.equal(cut[6], x[1, :, :2, :3])
    assert torch.equal(grid.join(cut), x)


def test_dense_glow_standardises_pixels_and_mixes_all_of_them():
    flow = dense((2, 4, 8), levels=2, depth=2, hidden=(8,))
    assert flow.latent_shapes == [(4, 2, 4), (16, 1, 2)]
    assert [len(m.shift) for m in flow.modules() if isinstance(m, ActNorm)] == [64, 64, 32, 32]
    steps = ["ActNorm", "Orthogonal", "Coupling"]
    assert kinds(flow, ActNorm, Orthogonal, Coupling, LULinear) == steps * 4
    x = torch.randn(1, 2, 4, 8)
    assert (jacrev(lambda v: flow(v)[0])(x) != 0).all()


def test_a_rotation_is_orthogonal_random_and_no_parameter():
    layer = Orthogonal(40)
    product = layer.rotation @ layer.rotation.T
    torch.testing.assert_close(product, torch.eye(40), rtol=0, atol=1e-6)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"rotation"}
    assert not torch.equal(layer.rotation, Orthogonal(40).rotation)
    # Uniform over the group: the mean of an entry is 0, as QR's own signs would not have it.
    diagonals = torch.stack([Orthogonal(4).rotation.diagonal() for _ in range(400)])
    assert diagonals.mean(dim=0).abs().max() < 0.15


def test_log_prob_of_samples_of_patches_agrees_with_the_inverse_pass():
    flow = perturb(patches((1, 4, 4), patch=2, depth=2, hidden=4)).double()
    z = torch.randn(5, 16, dtype=torch.float64)
    x, logabsdet = flow.inverse(z)
    again, forward = flow(x)
    torch.testing.assert_close(again, z)
    torch.testing.assert_close(forward, -logabsdet)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: masked((1, 4, 4), "spiral"), ("masks='spiral'",)),
        (lambda: masked((4,)), ("masked flow: shape=(4,)",)),
        (lambda: masked((1, 4, 4), depth=0), ("masked flow: depth=0",)),
        (lambda: masked((1, 4, 4), coupling="cubic"), ("coupling='cubic'",)),
        (lambda: patches((1, 8, 8), patch=3), ("patch=3", "8x8")),
        (lambda: patches((1, 9, 9), patch=3), ("patch=3", "even")),
        (lambda: patches((1, 8, 12), patch=8), ("patch=8", "8x12")),
        (lambda: patches((1, 8, 8), patch=0), ("patch=0", "at least 1")),
        (lambda: maps((1, 4, 4)), ("features=1", "at least 2")),
        (lambda: maps((4, 4)), ("flow on maps: shape=(4, 4)",)),
        (lambda: dense((1, 6, 8), levels=2), ("dense flow: 6x8", "divisible by 4")),
        (lambda: dense((1, 8, 8), levels=0), ("dense flow: levels=0",)),
        (lambda: dense((1, 8, 8), depth=0), ("dense flow: depth=0",)),
    ],
)
def test_bad_arguments_are_refused_in_one_line(make, fragments, refused):
    with refused(*fragments):
        make()
