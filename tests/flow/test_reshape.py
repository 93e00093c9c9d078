"""Where the features and the tokens of an image stand."""

from __future__ import annotations

import pytest
import torch

from innflow.flow import PairTokens, Patchify
from innflow.flow.reshape import UnpairTokens, halves_order


def test_a_token_is_a_patch():
    patchify = Patchify((2, 4, 6), patch=2)
    assert (patchify.rows, patchify.columns) == (2, 3)
    assert (patchify.features, patchify.tokens) == (8, 6)
    x = torch.arange(3 * 2 * 4 * 6).view(3, 2, 4, 6)
    cut, logabsdet = patchify(x)
    assert cut.shape == (3, 8, 6)
    assert torch.equal(logabsdet, torch.zeros(3))
    assert torch.equal(cut[1, :, 4], x[1, :, 2:, 2:4].flatten())  # row 1, column 1
    back, logabsdet = patchify.inverse(cut)
    assert torch.equal(back, x)
    assert torch.equal(logabsdet, torch.zeros(3))


def test_pairs_append_one_half_of_the_tokens_to_the_other():
    order = torch.tensor([1, 3, 0, 2])
    x = torch.arange(2 * 3 * 4).view(2, 3, 4)
    pairs, logabsdet = PairTokens(order)(x)
    assert pairs.shape == (2, 6, 2)
    assert torch.equal(pairs[:, :3], x[:, :, [1, 3]])
    assert torch.equal(pairs[:, 3:], x[:, :, [0, 2]])
    assert torch.equal(logabsdet, torch.zeros(2))
    assert torch.equal(PairTokens(order).inverse(pairs)[0], x)
    assert torch.equal(UnpairTokens(order)(pairs)[0], x)
    assert torch.equal(UnpairTokens(order).inverse(x)[0], pairs)


@pytest.mark.parametrize(
    ("halves", "first"),
    [
        ("checkerboard", [0, 2, 5, 7, 8, 10, 13, 15]),
        ("columns", [0, 2, 4, 6, 8, 10, 12, 14]),
        ("rows", [0, 1, 2, 3, 8, 9, 10, 11]),
    ],
)
def test_halves_of_a_grid_of_tokens(halves, first):
    order = halves_order(halves, 4, 4)
    assert order[:8].tolist() == first
    assert order.sort().values.tolist() == list(range(16))
    flipped = halves_order(halves, 4, 4, flip=True)
    assert torch.equal(flipped[8:], order[:8])
    assert torch.equal(flipped[:8], order[8:])


@pytest.mark.parametrize("halves", ["checkerboard", "columns", "rows"])
@pytest.mark.parametrize("grid", [(3, 2), (1, 4), (2, 1)])
def test_halves_of_grids_of_any_even_number(halves, grid):
    order = halves_order(halves, *grid)
    number = grid[0] * grid[1]
    assert order.sort().values.tolist() == list(range(number))
    assert PairTokens(order)(torch.randn(1, 2, number))[0].shape == (1, 4, number // 2)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: Patchify((1, 6, 8), patch=4), ("6x8", "patch=4", "divides both sides")),
        (lambda: Patchify((1, 8, 8), patch=0), ("8x8", "patch=0")),
        (lambda: PairTokens(torch.tensor([0, 2, 1])), ("[0, 2, 1]", "even number")),
        (lambda: PairTokens(torch.tensor([0, 0])), ("[0, 0]",)),
        (lambda: halves_order("spiral", 2, 2), ("halves='spiral'", "checkerboard")),
    ],
)
def test_sizes_that_do_not_divide_are_refused_in_one_line(make, fragments, refused):
    with refused("tokens", *fragments):
        make()
