"""Embeddings of time series and images by convolutions."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from innflow.flow.network.base import need_sizes
from innflow.flow.network.embedding import Embedding, check_axes, split_missing

COARSE = 4
"""Largest length of an axis of the last feature maps, which are flattened."""


class ConvEmbedding(Embedding):
    """Residual convolutions on a grid: of time for a series (T, C), of pixels for an image.

    Every stage halves the grid until no axis is longer than 4; the last feature maps are flattened
    and mapped to the context. The position on the grid, from -1 to 1, is a channel, and so is the
    mask of each channel where values may be missing. There is no normalisation over an item, as the
    size of a signal is informative.

    Args:
        shape: (T, C), or (C, H, W) of an image, or (H, W) of one with one channel.
        missing: whether values may be missing.
        features: outputs.
        hidden: channels of the first stage; the others have twice as many.
        dropout: rate before the last layer.
        series: whether y is a series.

    Raises:
        InnflowError: if y has another number of axes, or a size is out of range.
    """

    def __init__(
        self,
        shape: Sequence[int],
        missing: bool,
        features: int,
        hidden: int,
        dropout: float,
        series: bool,
    ) -> None:
        need_sizes("embedding", features=features, hidden=hidden)
        super().__init__(shape, features, missing)
        self.series = series
        if series:
            length, count = check_axes("series", shape, 2)
            self.grid: tuple[int, ...] = (length,)
            self.channels = torch.arange(length * count) % count
        else:
            count, *grid = check_axes("image", (1, *shape) if len(shape) == 2 else shape, 3)
            self.grid = tuple(grid)
            self.channels = torch.arange(count * math.prod(grid)) // math.prod(grid)
        axes = [torch.linspace(-1, 1, size) for size in self.grid]
        self.positions = nn.Buffer(
            torch.stack(torch.meshgrid(axes, indexing="ij")), persistent=False
        )
        conv = nn.Conv1d if series else nn.Conv2d
        width, size = hidden, max(self.grid)
        layers: list[nn.Module] = [conv(count * (1 + missing) + len(axes), width, 3, padding=1)]
        layers.append(_Residual(conv, width))
        while size > COARSE:
            layers += [nn.SiLU(), conv(width, 2 * hidden, 3, stride=2, padding=1)]
            width, size = 2 * hidden, -(-size // 2)
            layers.append(_Residual(conv, width))
        self.stages = nn.Sequential(*layers)
        cells = math.prod(min(COARSE, axis) for axis in self.grid)
        self.last = nn.Sequential(nn.SiLU(), nn.Flatten(), nn.Linear(width * cells, features))
        self.dropout = nn.Dropout(dropout)

    def forward(self, y: Tensor) -> Tensor:
        """Map data (B, M) to (B, features)."""
        maps = self._maps(y) if self.missing else self._maps(y)[:1]
        positions = self.positions.expand(len(y), *self.positions.shape)
        h = self.stages(torch.cat((*maps, positions), dim=1))
        pool = functional.adaptive_avg_pool1d if self.series else functional.adaptive_avg_pool2d
        sizes: Any = [min(COARSE, axis) for axis in self.grid]
        return self.last(self.dropout(pool(h, sizes)))

    def summarize(self, y: Tensor) -> Tensor:
        """Return means over the parts of a coarse grid, (B, K), and the shares that are missing."""
        pool = functional.adaptive_avg_pool1d if self.series else functional.adaptive_avg_pool2d
        sizes: Any = [min(COARSE, axis) for axis in self.grid]
        maps = self._maps(y) if self.missing else self._maps(y)[:1]
        return torch.cat([pool(one, sizes).flatten(1) for one in maps], dim=1)

    def _maps(self, y: Tensor) -> list[Tensor]:
        """Return values and mask, (B, C, *grid) each."""
        if self.series:
            return [part.unflatten(1, self.shape).mT for part in split_missing(y)]
        return [part.unflatten(1, (-1, *self.grid)) for part in split_missing(y)]


class SeriesEmbedding(ConvEmbedding):
    """Time series (T, C) by residual convolutions along time, see `ConvEmbedding`.

    Example:
        >>> SeriesEmbedding((100, 2))(torch.randn(3, 200)).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        missing: bool = False,
        features: int = 32,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(shape, missing, features, hidden, dropout, series=True)


class ImageEmbedding(ConvEmbedding):
    """Images (C, H, W) or (H, W) by residual convolutions, see `ConvEmbedding`.

    Example:
        >>> ImageEmbedding((1, 16, 16))(torch.randn(3, 256)).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        missing: bool = False,
        features: int = 32,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(shape, missing, features, hidden, dropout, series=False)


class _Residual(nn.Module):
    """x + conv(act(conv(act(x)))), the identity at first."""

    def __init__(self, conv: type[nn.Conv1d] | type[nn.Conv2d], width: int) -> None:
        super().__init__()
        last = conv(width, width, 3, padding=1)
        nn.init.zeros_(last.weight)
        first = conv(width, width, 3, padding=1)
        self.layers = nn.Sequential(nn.SiLU(), first, nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, *grid) to the same shape."""
        return x + self.layers(x)
