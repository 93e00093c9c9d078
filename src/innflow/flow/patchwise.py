"""Patchwise: one transform for every patch of an image, none of which sees another."""

from __future__ import annotations

from nflows.transforms.base import Transform
from torch import Tensor

from innflow.errors import InnflowError


class Patchwise(Transform):
    """Cut images into a grid of patches and transform each by the same bijection.

    The patches stand in the batch meanwhile, so that nothing of one reaches another; the
    log-determinant of an image is the sum over its patches, and the outputs stand side by side in
    the order of the patches (the local Glow of Schirrmeister et al., arXiv:2006.10848).

    Args:
        transform: maps patches (B, C, h, w) to (B, C', h', w').
        rows: number of patches from top to bottom.
        columns: number of patches from left to right.
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
        """Put patches back in their places: undo `split`."""
        number, channels, height, width = patches.shape
        batch = number // (self.rows * self.columns)
        grid = patches.reshape(batch, self.rows, self.columns, channels, height, width)
        grid = grid.permute(0, 3, 1, 4, 2, 5)
        return grid.reshape(batch, channels, self.rows * height, self.columns * width)

    def repeat(self, context: Tensor | None) -> Tensor | None:
        """Give every patch the context (B, F) of its image."""
        if context is None:
            return None
        return context.repeat_interleave(self.rows * self.columns, dim=0)

    def whole(self, outputs: tuple[Tensor, Tensor], batch: int) -> tuple[Tensor, Tensor]:
        """Return images and their logabsdet from those of all patches of a batch."""
        patches, logabsdet = outputs
        return self.join(patches), logabsdet.reshape(batch, self.rows * self.columns).sum(dim=1)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to outputs and logabsdet (B,)."""
        outputs = self.transform(self.split(inputs), self.repeat(context))
        return self.whole(outputs, len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        outputs = self.transform.inverse(self.split(inputs), self.repeat(context))
        return self.whole(outputs, len(inputs))
