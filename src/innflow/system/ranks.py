"""Division of the items of a set and of the random numbers of a batch among ranks."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor

_SHARE: ContextVar[tuple[int, int]] = ContextVar("_SHARE", default=(0, 1))
"""Rank and number of ranks for which `rand`, `randn` and `randint` draw."""


Noise = torch.Generator | int | None
"""Generator of training noise, seed of the noise of `draw_by_item`, or None for no noise."""


def seeded_generator(seed: Noise) -> torch.Generator:
    """Return a new generator for a seed, torch's default for None, or the given generator."""
    if isinstance(seed, torch.Generator):
        return seed
    return torch.default_generator if seed is None else torch.Generator().manual_seed(seed)


def draw_within_bins(x: Tensor, noise: Noise) -> Tensor | float:
    """Draw uniform numbers from [0, 1) for integers x (B, ...); without noise return 1/2."""
    if noise is None:
        return 0.5
    if isinstance(noise, int):
        return draw_by_item(x, noise)
    if noise is torch.default_generator:
        return rand(x.shape, batch_axis=0, dtype=x.dtype, device=x.device)
    return rand(x.shape, batch_axis=0, generator=noise).to(x)


def draw_by_item(x: Tensor, seed: int) -> Tensor:
    """Draw uniform numbers from [0, 1) for each item of x (B, ...) from its values and a seed.

    They do not depend on the other items of the batch, the number of ranks or the device.

    >>> x = torch.eye(3)
    >>> torch.equal(draw_by_item(x, seed=0)[1:], draw_by_item(x[1:], seed=0))
    True
    """
    generator = torch.Generator()
    drawn = torch.empty(x.shape)
    for row, item in zip(drawn, x.detach().cpu().double().numpy(), strict=True):
        generator.manual_seed(zlib.crc32(item.tobytes(), seed))
        torch.rand(row.shape, generator=generator, out=row)
    return drawn.to(x)


@contextmanager
def shared_draws(rank: int, ranks: int) -> Iterator[None]:
    """Let `rand`, `randn` and `randint` return this rank's part of a draw for the whole batch.

    All ranks have the same random state, so plain draws would give each of them the same numbers.
    Within this block every rank draws what one process would draw for the batch of all ranks, and
    keeps its own items: the numbers do not depend on the number of ranks.
    """
    token = _SHARE.set((rank, ranks))
    try:
        yield
    finally:
        _SHARE.reset(token)


def rand(shape: Sequence[int], *, batch_axis: int, **options: Any) -> Tensor:
    """Draw uniform numbers from [0, 1) for the items of a batch.

    Args:
        shape: shape of the result, with the items of this rank along `batch_axis`.
        batch_axis: axis of the items.
        options: generator, dtype and device of `torch.rand`.

    >>> rand((4, 3), batch_axis=0).shape
    torch.Size([4, 3])
    """
    return _draw(partial(torch.rand, **options), shape, batch_axis)


def randn(shape: Sequence[int], *, batch_axis: int, **options: Any) -> Tensor:
    """Draw standard normal numbers for the items of a batch; arguments as for `rand`."""
    return _draw(partial(torch.randn, **options), shape, batch_axis)


def randint(high: int, shape: Sequence[int], *, batch_axis: int, **options: Any) -> Tensor:
    """Draw integers from 0 to `high` - 1 for the items of a batch; arguments as for `rand`."""
    return _draw(partial(torch.randint, high, **options), shape, batch_axis)


def _draw(function: Callable[..., Tensor], shape: Sequence[int], batch_axis: int) -> Tensor:
    """Draw for the items of all ranks and return those of this one."""
    rank, ranks = _SHARE.get()
    items, whole = shape[batch_axis], list(shape)
    whole[batch_axis] = items * ranks
    return function(whole).narrow(batch_axis, rank * items, items)


def shares(count: int, batch: int, rank: int, ranks: int) -> list[list[int]]:
    """Return the rows of one rank's batches in a pass over `count` items.

    Every rank gets the same number of batches, as collective operations require, and every item is
    in exactly one of them. With fewer items than ranks, every rank gets all items.

    Args:
        count: number of items.
        batch: approximate size of a batch of all ranks.
        rank: rank of this process.
        ranks: number of ranks.
    """
    if count < ranks:
        return [list(range(count))]
    batches = min(-(-count // batch), count // ranks)
    pieces = torch.arange(count).tensor_split(batches * ranks)
    return [piece.tolist() for piece in pieces[rank::ranks]]
