"""Changes of layout: squeeze, flatten, patches and tokens."""

import math
from typing import Literal

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError


class Squeeze(Transform):
    """(B, C, H, W) to (B, 4 C, H/2, W/2): blocks of 2x2 pixels become channels.

    Channels come in nflows' order (channel, row, column). The log-determinant is 0.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Squeeze images; the log-determinant is 0."""
        batch, channels, height, width = inputs.shape
        blocks = inputs.reshape(batch, channels, height // 2, 2, width // 2, 2)
        pixels = blocks.permute(0, 2, 4, 1, 3, 5)  # (B, H/2, W/2, C, 2, 2)
        outputs = pixels.reshape(batch, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)
        return outputs, inputs.new_zeros(batch)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore images from their squeezed form."""
        batch, channels, height, width = inputs.shape
        blocks = inputs.reshape(batch, channels // 4, 2, 2, height, width)
        rows = blocks.permute(0, 1, 4, 2, 5, 3)  # (B, C, H, 2, W, 2)
        outputs = rows.reshape(batch, channels // 4, 2 * height, 2 * width)
        return outputs, inputs.new_zeros(batch)


class Flatten(Transform):
    """(B, C, H, W) to (B, C * H * W) and back; the log-determinant is 0.

    Args:
        shape: of one input, (C, H, W) or any other.

    Example:
        >>> Flatten((3, 2, 2))(torch.randn(5, 3, 2, 2))[0].shape
        torch.Size([5, 12])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.features = math.prod(self.shape)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flatten."""
        return inputs.reshape(-1, self.features), inputs.new_zeros(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore the shape."""
        return inputs.reshape(-1, *self.shape), inputs.new_zeros(inputs.shape[0])


class Unflatten(Flatten):
    """(B, C * H * W) to (B, C, H, W) and back: the inverse of `Flatten`."""

    forward, inverse = Flatten.inverse, Flatten.forward


class Patchwise(Transform):
    """Cut images into a grid of patches and apply the same bijection to each.

    The log-determinant of an image is the sum over its patches, and the outputs are placed in the
    order of the patches (the local Glow of Schirrmeister et al., arXiv:2006.10848).

    Args:
        transform: maps patches (B, C, h, w) to (B, C', h', w').
        rows: number of patches from top to bottom.
        columns: number of patches from left to right.

    Example:
        >>> patchwise = Patchwise(Squeeze(), rows=2, columns=2)
        >>> patchwise(torch.randn(3, 1, 8, 8))[0].shape
        torch.Size([3, 4, 4, 4])
    """

    def __init__(self, transform: Transform, rows: int, columns: int) -> None:
        super().__init__()
        if rows < 1 or columns < 1:
            raise InnflowError(f"patchwise: {rows}x{columns} patches: takes at least 1x1")
        self.transform = transform
        self.rows, self.columns = rows, columns

    def split(self, images: Tensor) -> Tensor:
        """Cut (B, C, H, W) into patches (B * rows * columns, C, H / rows, W / columns)."""
        batch, channels, height, width = images.shape
        inner = (height // self.rows, width // self.columns)
        cut = images.reshape(batch, channels, self.rows, inner[0], self.columns, inner[1])
        cut = cut.permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(batch * self.rows * self.columns, channels, *inner)

    def join(self, patches: Tensor) -> Tensor:
        """Join patches to images (B, C, H, W), the inverse of `split`."""
        number, channels, height, width = patches.shape
        batch = number // (self.rows * self.columns)
        grid = patches.reshape(batch, self.rows, self.columns, channels, height, width)
        grid = grid.permute(0, 3, 1, 4, 2, 5)
        return grid.reshape(batch, channels, self.rows * height, self.columns * width)

    def repeat(self, context: Tensor | None) -> Tensor | None:
        """Repeat the context (B, F) of each image for its patches, (B * rows * columns, F)."""
        if context is None:
            return None
        return context.repeat_interleave(self.rows * self.columns, dim=0)

    def join_outputs(self, outputs: tuple[Tensor, Tensor], batch: int) -> tuple[Tensor, Tensor]:
        """Return outputs of `batch` images and their logabsdet (B,) from those of all patches."""
        patches, logabsdet = outputs
        return self.join(patches), logabsdet.reshape(batch, self.rows * self.columns).sum(dim=1)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to outputs and logabsdet (B,)."""
        outputs = self.transform(self.split(inputs), self.repeat(context))
        return self.join_outputs(outputs, len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs of `forward` to its inputs and logabsdet (B,)."""
        outputs = self.transform.inverse(self.split(inputs), self.repeat(context))
        return self.join_outputs(outputs, len(inputs))


Halves = Literal["checkerboard", "columns", "rows"]


class Patchify(Transform):
    """(B, C, H, W) to (B, C * patch^2, H * W / patch^2) and back; the log-determinant is 0.

    Every patch becomes a token; tokens come row by row, their features in the order (channel, row,
    column).

    Args:
        shape: (C, H, W); H and W divisible by `patch`.
        patch: side of a patch in pixels.

    Raises:
        InnflowError: if the image cannot be divided into such patches.

    Example:
        >>> Patchify((3, 8, 8), patch=4)(torch.randn(5, 3, 8, 8))[0].shape
        torch.Size([5, 48, 4])
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
        """Restore images from tokens."""
        batch, side = len(inputs), self.patch
        cut = inputs.reshape(batch, self.channels, side, side, self.rows, self.columns)
        rows = cut.permute(0, 1, 4, 2, 5, 3)
        outputs = rows.reshape(batch, self.channels, self.rows * side, self.columns * side)
        return outputs, inputs.new_zeros(batch)


class PairTokens(Transform):
    """(B, D, T) to (B, 2 D, T / 2) and back; the log-determinant is 0.

    The features of each token of the first half are followed by those of one token of the second
    half, so that a coupling on dim 1 transforms the second half of the tokens given the first.

    Args:
        order: permutation of an even number of tokens, those of the first half first.

    Raises:
        InnflowError: if `order` is no permutation of an even number of tokens.

    Example:
        >>> PairTokens(torch.tensor([0, 2, 1, 3]))(torch.randn(5, 3, 4))[0].shape
        torch.Size([5, 6, 2])
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if len(order) % 2 or not torch.equal(order.sort().values, torch.arange(len(order))):
            raise InnflowError(
                f"tokens: {order.tolist()} is no order of an even number of tokens from 0"
            )
        self.order, self.restore = nn.Buffer(order.clone()), nn.Buffer(order.argsort())

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Append the features of the second half of the tokens to those of the first."""
        halves = inputs.index_select(2, self.order).chunk(2, dim=2)
        return torch.cat(halves, dim=1), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore the tokens from their pairs."""
        halves = inputs.chunk(2, dim=1)
        outputs = torch.cat(halves, dim=2).index_select(2, self.restore)
        return outputs, inputs.new_zeros(len(inputs))


class UnpairTokens(PairTokens):
    """(B, 2 D, T / 2) to (B, D, T) and back: the inverse of `PairTokens`."""

    forward, inverse = PairTokens.inverse, PairTokens.forward


def halves_order(halves: Halves, rows: int, columns: int, flip: bool = False) -> Tensor:
    """Return an order of the tokens of a grid, those of one half before those of the other.

    Args:
        halves: `checkerboard` (even squares first), `columns` or `rows` (every second one first).
        rows: of the grid. With an odd number of stripes the first half would be larger; its last
            tokens are moved to the second.
        columns: of the grid.
        flip: exchange the two halves.

    Raises:
        InnflowError: if there are no such halves.
    """
    row, column = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
    if halves not in ("checkerboard", "columns", "rows"):
        raise InnflowError(
            f"tokens: halves={halves!r} is unknown: takes checkerboard, columns or rows"
        )
    number = {"checkerboard": row + column, "columns": column + 0 * row, "rows": row + 0 * column}
    order = (number[halves] % 2).flatten().argsort(stable=True)
    return order.roll(len(order) // 2) if flip else order
