"""Trade of pixels for channels, and of shape for a flat vector."""

from __future__ import annotations

import math

from nflows.transforms.base import Transform
from torch import Tensor


class Squeeze(Transform):
    """(B, C, H, W) to (B, 4 C, H/2, W/2) and back, blocks of 2x2 pixels becoming channels.

    Channels come out in nflows' order (channel, row, column). The copy is written with channels
    last, the layout in which the convolutions that follow are fastest.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Squeeze."""
        batch, channels, height, width = inputs.shape
        blocks = inputs.reshape(batch, channels, height // 2, 2, width // 2, 2)
        rows = blocks.permute(0, 2, 4, 1, 3, 5)
        outputs = rows.reshape(batch, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)
        return outputs, inputs.new_zeros(batch)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        batch, channels, height, width = inputs.shape
        blocks = inputs.reshape(batch, channels // 4, 2, 2, height, width)
        rows = blocks.permute(0, 1, 4, 2, 5, 3)
        outputs = rows.reshape(batch, channels // 4, 2 * height, 2 * width)
        return outputs, inputs.new_zeros(batch)


class Flatten(Transform):
    """(B, C, H, W) to (B, C * H * W) and back; the log-determinant is 0."""

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
    """(B, C * H * W) to (B, C, H, W) and back: `Flatten` the other way round."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore the shape."""
        return super().inverse(inputs, context)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flatten."""
        return super().forward(inputs, context)
