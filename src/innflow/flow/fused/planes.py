"""Planes: the numbers of a coupling so that each parameter lies together in memory."""

from __future__ import annotations

import math

from torch import Tensor


class Planes:
    """How features (B, F, ...) and their tables (B, F * K, ...) become planes, and back.

    Features are (P, N) and tables (P, K, N), with P * N = B * F * ... and N next to each other in
    memory. Two ways of lying in memory already are such planes: images with their pixels last, and
    vectors with their items last (see `MLP.items_last`). Anything else is transposed, with P = 1.

    Args:
        x: (B, F, ...).
        tables: (B, F * K, ...), the K numbers of a feature together.
        count: K.
    """

    def __init__(self, x: Tensor, tables: Tensor, count: int) -> None:
        self.shape, self.count = x.shape, count
        self.planes, self.pixels = len(x) * x.shape[1], math.prod(x.shape[2:])
        vectors = x.dim() == 2
        self.items_last = vectors and tables.stride(0) == 1 and len(x) > 1
        self.pixels_last = not vectors and tables.is_contiguous()

    def values(self, x: Tensor) -> Tensor:
        """Return (P, N) from (B, F, ...)."""
        if self.items_last:
            return x.t().contiguous()
        if self.pixels_last:
            return x.reshape(self.planes, self.pixels)
        return x.movedim(1, -1).reshape(1, -1)

    def whole(self, planes: Tensor) -> Tensor:
        """Undo `values`."""
        if self.items_last:
            return planes.t().contiguous()
        if self.pixels_last:
            return planes.view(self.shape)
        return planes.view(self.shape[0], *self.shape[2:], self.shape[1]).movedim(-1, 1)

    def tables(self, tables: Tensor) -> Tensor:
        """Return (P, K, N) from (B, F * K, ...)."""
        if self.items_last:
            return tables.t().unflatten(0, (self.shape[1], self.count))
        if self.pixels_last:
            return tables.view(self.planes, self.count, self.pixels)
        # In two dimensions a transposition is copied block by block, three times as fast.
        return tables.movedim(1, -1).reshape(-1, self.count).t().contiguous()[None]

    def together(self, planes: Tensor) -> Tensor:
        """Undo `tables`."""
        if self.items_last:
            return planes.flatten(0, 1).t()
        items, features, *rest = self.shape
        if self.pixels_last:
            return planes.view(items, features * self.count, *rest)
        joined = planes[0].t().contiguous()
        return joined.view(items, *rest, features * self.count).movedim(-1, 1)
