"""Changes of layout: squeeze, flatten, patches and tokens."""

import math
from abc import abstractmethod
from typing import Literal

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError


class Layout(Transform):
    """A transform that only moves values to other places; its log-determinant is 0."""

    @abstractmethod
    def rearrange(self, values: Tensor) -> Tensor:
        """Return the values (B, ...) at their new places."""

    @abstractmethod
    def undo(self, values: Tensor) -> Tensor:
        """Return the values at their old places: the inverse of `rearrange`."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the rearranged tensor and zeros (B,)."""
        return self.rearrange(inputs), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the tensor before `forward` and zeros (B,)."""
        return self.undo(inputs), inputs.new_zeros(len(inputs))


def cut(images: Tensor, height: int, width: int) -> Tensor:
    """Cut (B, C, H, W) into blocks of pixels, (B, C, height, width, H / height, W / width)."""
    blocks = images.unflatten(2, (-1, height)).unflatten(4, (-1, width))
    return blocks.permute(0, 1, 3, 5, 2, 4)


def paste(blocks: Tensor) -> Tensor:
    """Return the images (B, C, H, W) of blocks of pixels: the inverse of `cut`."""
    return blocks.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


class Squeeze(Layout):
    """(B, C, H, W) to (B, 4 C, H/2, W/2): blocks of 2x2 pixels become channels.

    Channels come in nflows' order (channel, row, column), and last in memory.
    """

    def rearrange(self, values: Tensor) -> Tensor:
        """Squeeze images."""
        return cut(values, 2, 2).permute(0, 4, 5, 1, 2, 3).flatten(3).permute(0, 3, 1, 2)

    def undo(self, values: Tensor) -> Tensor:
        """Restore images from their squeezed form."""
        return paste(values.unflatten(1, (-1, 2, 2)))


class Flatten(Layout):
    """(B, C, H, W) to (B, C * H * W) and back.

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

    def rearrange(self, values: Tensor) -> Tensor:
        """Flatten."""
        return values.flatten(1)

    def undo(self, values: Tensor) -> Tensor:
        """Restore the shape."""
        return values.unflatten(1, self.shape)


class Unflatten(Flatten):
    """(B, C * H * W) to (B, C, H, W) and back: the inverse of `Flatten`."""

    def rearrange(self, inputs: Tensor) -> Tensor:
        """Undo the change of layout."""
        return super().undo(inputs)

    def undo(self, outputs: Tensor) -> Tensor:
        """Change the layout."""
        return super().rearrange(outputs)


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
            raise InnflowError(f"patchwise: {rows}x{columns} patches: must be at least 1x1")
        self.transform = transform
        self.rows, self.columns = rows, columns

    def split(self, images: Tensor) -> Tensor:
        """Cut (B, C, H, W) into patches (B * rows * columns, C, H / rows, W / columns)."""
        height, width = images.shape[2:]
        patches = cut(images, height // self.rows, width // self.columns)
        return patches.permute(0, 4, 5, 1, 2, 3).flatten(0, 2)

    def join(self, patches: Tensor) -> Tensor:
        """Join patches to images (B, C, H, W), the inverse of `split`."""
        batch = len(patches) // (self.rows * self.columns)
        grid = patches.unflatten(0, (batch, self.rows, self.columns))
        return paste(grid.permute(0, 3, 4, 5, 1, 2))

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


class Patchify(Layout):
    """(B, C, H, W) to (B, C * patch^2, H * W / patch^2) and back.

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
                "give a number that divides both sides"
            )
        self.channels, self.patch = channels, patch
        self.rows, self.columns = height // patch, width // patch
        self.features, self.tokens = channels * patch**2, self.rows * self.columns

    def rearrange(self, values: Tensor) -> Tensor:
        """Cut images into tokens."""
        return cut(values, self.patch, self.patch).flatten(4).flatten(1, 3)

    def undo(self, values: Tensor) -> Tensor:
        """Restore images from tokens."""
        tokens = values.unflatten(1, (self.channels, self.patch, self.patch))
        return paste(tokens.unflatten(4, (self.rows, self.columns)))


class PairTokens(Layout):
    """(B, D, T) to (B, 2 D, T / 2) and back.

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

    def rearrange(self, values: Tensor) -> Tensor:
        """Append the features of the second half of the tokens to those of the first."""
        return torch.cat(values.index_select(2, self.order).chunk(2, dim=2), dim=1)

    def undo(self, values: Tensor) -> Tensor:
        """Restore the tokens from their pairs."""
        return torch.cat(values.chunk(2, dim=1), dim=2).index_select(2, self.restore)


class UnpairTokens(PairTokens):
    """(B, 2 D, T / 2) to (B, D, T) and back: the inverse of `PairTokens`."""

    def rearrange(self, inputs: Tensor) -> Tensor:
        """Undo the change of layout."""
        return super().undo(inputs)

    def undo(self, outputs: Tensor) -> Tensor:
        """Change the layout."""
        return super().rearrange(outputs)


Halves = Literal["checkerboard", "columns", "rows"]


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
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    numbers = {"checkerboard": row + column, "columns": column, "rows": row}
    if halves not in numbers:
        raise InnflowError(f"tokens: halves={halves!r} is unknown: must be {', '.join(numbers)}")
    order = (numbers[halves] % 2).flatten().argsort(stable=True)
    return order.roll(len(order) // 2) if flip else order
