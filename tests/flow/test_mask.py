"""Masks written out, and what couplings with them read and change."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from flow.zoo import perturb
from innflow.flow import ImageMLP, MaskedCoupling
from innflow.flow.mask import horizontal, mask_pairs, quadrant, vertical


def test_halves_with_their_odd_rows_and_columns_last():
    assert horizontal(3, 2)[0].int().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert horizontal(3, 2, flip=True)[0].int().tolist() == [[0, 0], [1, 1], [1, 1]]
    assert vertical(2, 3)[0].int().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert vertical(2, 3, flip=True)[0].int().tolist() == [[0, 1, 1], [0, 1, 1]]


def test_quadrants_go_clockwise_from_the_top_left():
    names = sum(index * quadrant(3, 4, index)[0].int() for index in range(4))
    assert names.tolist() == [[0, 0, 1, 1], [3, 3, 2, 2], [3, 3, 2, 2]]
    assert torch.equal(sum(quadrant(3, 4, i).int() for i in range(4)), torch.ones(1, 3, 4).int())


@pytest.mark.parametrize("masks", ["checkerboard", "horizontal", "vertical", "cycle"])
def test_a_round_changes_every_pixel_once_and_reads_what_it_changed_last(masks):
    pairs = mask_pairs(masks, 5, 4)
    changed = sum(changes.int() for _, changes in pairs)
    assert torch.equal(changed, torch.ones(1, 5, 4).int())
    assert not any((reads & changes).any() for reads, changes in pairs)
    for (_, changes), (reads, _) in zip(pairs, pairs[1:] + pairs[:1], strict=True):
        assert torch.equal(changes, reads)


@pytest.mark.parametrize("index", range(4))
def test_a_coupling_of_the_cycle_reads_one_quadrant_and_changes_the_next(index):
    reads, changes = mask_pairs("cycle", 4, 4)[index]
    net = partial(ImageMLP, hidden=16, size=(4, 4))
    layer = perturb(MaskedCoupling(1, reads, net, changes=changes)).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0], x).view(16, 16)
    off = (jacobian - jacobian.diag().diag()) != 0
    rows, columns = off.any(dim=1), off.any(dim=0)
    assert torch.equal(rows, quadrant(4, 4, (index + 1) % 4).flatten())
    assert torch.equal(columns, quadrant(4, 4, index).flatten())
    assert off.sum() == 16
    y, _ = layer(x)
    assert torch.equal((y != x).flatten(), changes.flatten())


def test_changed_pixels_are_the_complement_of_the_mask_by_default():
    reads = horizontal(4, 4)
    net = partial(ImageMLP, hidden=8, size=(4, 4))
    plain, explicit = (perturb(MaskedCoupling(1, reads, net, changes=c)) for c in (None, ~reads))
    assert torch.equal(plain.changes, explicit.changes)
    explicit.load_state_dict(plain.state_dict())
    x = torch.randn(3, 1, 4, 4)
    for ours, theirs in zip(plain(x), explicit(x), strict=True):
        assert torch.equal(ours, theirs)


def test_bad_arguments(refused):
    with refused("masks='spiral'", "checkerboard, horizontal, vertical, cycle"):
        mask_pairs("spiral", 4, 4)
    with refused("1x4", "masks=horizontal"):
        mask_pairs("horizontal", 1, 4)
    with refused("4x1", "masks=cycle"):
        mask_pairs("cycle", 4, 1)
    with refused("both conditions and changes"):
        MaskedCoupling(1, horizontal(4, 4), ImageMLP, changes=vertical(4, 4))
