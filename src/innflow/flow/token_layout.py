"""Layouts of images as tokens (B, features, tokens), between which nothing but places changes.

Features stand in dim 1, where couplings split, and tokens behind them, as the pixels of an image.
"""

from __future__ import annotations

from typing import Literal

import torch
from nflows.transforms.base import Transform
from torch import Tensor

from innflow.errors import InnflowError

Halves = Literal["checkerboard", "columns", "rows"]


class Patchify(Transform):
    """(B, C, H, W) to (B, C * patch^2, H * W / patch^2) and back; the log-determinant is 0.

    Every patch becomes a token; tokens come row by row, their features in the order (channel, row,
    column).

    Args:
        shape: (C, H, W); H and W divisible by `patch`.
        patch: side of a patch in pixels.
    """

    def __init__(self, shape: tuple[int, int, int], patch: int) -> None:
        super().__init__()
        channels, height, width = shape
        if patch < 1 or height % patch or width % patch:
            raise InnflowError(
                f"tokens: {height}x{width} cannot be cut into patches of patch={patch}: "
                "takes a number that divides both sides"
            )
        self.channels, self.patch = channels, patch
        self.rows, self.columns = height // patch, width // patch
        self.features, self.tokens = channels * patch**2, self.rows * self.columns

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cut images into tokens."""
        batch, side = len(inputs), self.patch
        cut = inputs.reshape(batch, self.channels, self.rows, side, self.columns, side)
        outputs = cut.permute(0, 1, 3, 5, 2, 4).reshape(batch, self.features, self.tokens)
        return outputs, inputs.new_zeros(batch)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Put tokens back into images."""
        batch, side = len(inputs), self.patch
        cut = inputs.reshape(batch, self.channels, side, side, self.rows, self.columns)
        rows = cut.permute(0, 1, 4, 2, 5, 3)
        outputs = rows.reshape(batch, self.channels, self.rows * side, self.columns * side)
        return outputs, inputs.new_zeros(batch)


class PairTokens(Transform):
    """(B, D, T) to (B, 2 D, T / 2) and back; the log-determinant is 0.

    Behind the features of a token of the first half stand those of one of the second half, so that
    a coupling of dim 1 changes the second half of the tokens given the first.

    Args:
        order: token i of the two halves in a row is input token `order[i]`; an even number.
    """

    order: Tensor
    restore: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if len(order) % 2 or not torch.equal(order.sort().values, torch.arange(len(order))):
            raise InnflowError(
                f"tokens: {order.tolist()} is no order of an even number of tokens from 0"
            )
        self.register_buffer("order", order.clone())
        self.register_buffer("restore", order.argsort())

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Set the second half of the tokens behind the first."""
        halves = inputs.index_select(2, self.order).chunk(2, dim=2)
        return torch.cat(halves, dim=1), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Set the tokens side by side again."""
        halves = inputs.chunk(2, dim=1)
        outputs = torch.cat(halves, dim=2).index_select(2, self.restore)
        return outputs, inputs.new_zeros(len(inputs))


class UnpairTokens(PairTokens):
    """(B, 2 D, T / 2) to (B, D, T) and back: `PairTokens` the other way round."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Set the tokens side by side again."""
        return super().inverse(inputs, context)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Set the second half of the tokens behind the first."""
        return super().forward(inputs, context)


def halves_order(halves: Halves, rows: int, columns: int, flip: bool = False) -> Tensor:
    """Return tokens 0..rows * columns - 1 with those of one half before those of the other.

    Args:
        halves: `checkerboard` puts the even squares first; `columns` and `rows` every second one.
        rows: of the grid of tokens. Of an odd number of stripes the first and third and so on are
            more than half of the tokens: then the last of them stand in the other half.
        columns: of the grid of tokens.
        flip: exchange the halves, in the same pairs.
    """
    row, column = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
    if halves not in ("checkerboard", "columns", "rows"):
        raise InnflowError(
            f"tokens: halves={halves!r} is unknown: takes checkerboard, columns or rows"
        )
    number = {"checkerboard": row + column, "columns": column + 0 * row, "rows": row + 0 * column}
    order = (number[halves] % 2).flatten().argsort(stable=True)
    return order.roll(len(order) // 2) if flip else order
