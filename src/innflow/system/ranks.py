"""What one of several processes takes of a batch, of a set and of the noise that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_BY_SIZE = (torch.rand, torch.randn)
_BY_LIKENESS = (torch.rand_like, torch.randn_like, torch.randint_like)


def drawn_together(items: int, rank: int, ranks: int) -> AbstractContextManager[Any]:
    """Within it, draw for the items of all ranks and give the part of this one.

    All ranks have the same random state. Each alone would draw the same noise as the others; so
    each draws what one process would draw for the whole batch, and takes its share of it. Whatever
    in a block has an axis as long as the number of items is a draw for items.

    Args:
        items: number of items that this rank holds, as every other rank.
        rank: which one it is.
        ranks: how many there are; one alone draws as always.
    """
    return nullcontext() if ranks == 1 else _Together(items, rank, ranks)


class _Together(TorchFunctionMode):
    """Draws more than is asked for, and gives a part of it."""

    def __init__(self, items: int, rank: int, ranks: int) -> None:
        super().__init__()
        self.items, self.rank, self.ranks = items, rank, ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take random functions by themselves, and leave all others alone."""
        options = dict(kwargs or {})
        if func in _BY_LIKENESS:
            like, *rest = args
            axis, size = self._enlarged(like.shape)
            return self._part(func(like.new_empty(size), *rest, **options), axis)
        if func in _BY_SIZE or func is torch.randint:
            if "size" in options:
                axis, options["size"] = self._enlarged(options["size"])
            elif args and isinstance(args[-1], Sequence):
                axis, size = self._enlarged(args[-1])
                args = (*args[:-1], size)
            else:  # torch.rand(2, 3)
                axis, args = self._enlarged(args)
            return self._part(func(*args, **options), axis)
        return func(*args, **options)

    def _enlarged(self, size: Sequence[int]) -> tuple[int | None, tuple[int, ...]]:
        """Return the axis of the items, and the size for those of all ranks."""
        whole = list(size)
        if self.items not in whole:
            return None, tuple(whole)
        axis = whole.index(self.items)
        whole[axis] *= self.ranks
        return axis, tuple(whole)

    def _part(self, drawn: Tensor, axis: int | None) -> Tensor:
        if axis is None:
            return drawn
        return drawn.narrow(axis, self.rank * self.items, self.items)


def shares(count: int, batch: int, rank: int, ranks: int) -> list[list[int]]:
    """Return the rows of the batches in which one rank looks at its share of so many items.

    Every rank has as many batches, which those that compute together need, and every item is in
    one of them. Of fewer items than ranks, each rank has all.

    Args:
        count: number of items.
        batch: about how many are in a batch of all ranks.
        rank: which one it is.
        ranks: how many there are.
    """
    if count < ranks:
        return [list(range(count))]
    batches = min(-(-count // batch), count // ranks)
    pieces = torch.arange(count).tensor_split(batches * ranks)
    return [piece.tolist() for piece in pieces[rank::ranks]]
