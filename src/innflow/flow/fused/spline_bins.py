"""What the written spline does to its tables: find the bin of x, and lead gradients back.

Both exist twice. Uncompiled, one operation does all bins at once. To a compiler each bin is given
by itself, and it makes one vectorised loop of all: a gather, a cumulative sum or a sum over bins
would each end the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from innflow.flow.spline import MIN_WIDTH


class Bin(NamedTuple):
    """The bin of each x, all (P, N).

    Attributes:
        number: of the bin.
        left: x at its lower knot.
        right: x at its upper knot.
        bottom: y at its lower knot.
        top: y at its upper knot.
        raw_left: unnormalised slope at its lower knot, 0 at the outermost.
        raw_right: likewise at its upper knot.
    """

    number: Tensor
    left: Tensor
    right: Tensor
    bottom: Tensor
    top: Tensor
    raw_left: Tensor
    raw_right: Tensor


def sizes(bins: int, tail: float) -> tuple[float, float]:
    """Return how wide a share of 1 is, and the least width that every bin has besides."""
    return 2 * tail * (1 - MIN_WIDTH * bins), 2 * tail * MIN_WIDTH


def find(value: Tensor, raw: Tensor, bins: int, tail: float) -> tuple[Bin, Tensor]:
    """Return the bin of each value, and what `lead_back` needs.

    Args:
        value: (P, N), inside the interval.
        raw: (P, 3 K - 1, N), unnormalised widths, heights and inner slopes.
        bins: K.
        tail: the interval's half length.

    Returns:
        The bins, and shares (P, 2, K, N) of widths and heights before the least.
    """
    scale, least = sizes(bins, tail)
    shares = raw[:, : 2 * bins].unflatten(1, (2, bins)).softmax(dim=2)
    sums = shares.cumsum(dim=2)
    # The value as knot k would stand in `sums`, which lacks the least widths of k bins.
    knots = torch.arange(1, bins, device=raw.device, dtype=raw.dtype)[:, None]
    seen = torch.sub(((value + tail) / scale)[:, None], knots, alpha=least / scale)
    index = (seen >= sums[:, 0, :-1]).sum(dim=1, keepdim=True)
    both = torch.cat((index, index + 1), dim=1)  # knots, from 0 to K
    number = both.to(raw.dtype)
    below = both - 1
    at = sums.gather(2, below.clamp(min=0)[:, None].expand(-1, 2, -1, -1))
    at = torch.addcmul(
        (number * least - tail)[:, None], at, number.clamp(max=1)[:, None], value=scale
    )
    (left, right), (bottom, top) = (table.unbind(1) for table in at.unbind(1))
    inner = (both > 0) & (both < bins)
    slopes = raw[:, 2 * bins :].gather(1, below.clamp(0, bins - 2)) * inner
    return Bin(index[:, 0], left, right, bottom, top, slopes[:, 0], slopes[:, 1]), shares


def find_unrolled(value: Tensor, raw: Tensor, bins: int, tail: float) -> tuple[Bin, Tensor]:
    """Do the same bin by bin; what `lead_back_unrolled` needs is raw itself."""
    tables = raw.unbind(1)
    knots_x = _knots(shares_of(tables[:bins]), tail)
    knots_y = _knots(shares_of(tables[bins : 2 * bins]), tail)
    none = torch.zeros_like(value)
    slopes = [none, *tables[2 * bins :], none]
    found = [none, *(table[k] for table in (knots_x, knots_y, slopes) for k in (0, 1))]
    for k in range(1, bins):
        beyond = value >= knots_x[k]
        there = (knots_x[k], knots_x[k + 1], knots_y[k], knots_y[k + 1], slopes[k], slopes[k + 1])
        found[0] = found[0] + beyond.to(value.dtype)
        found[1:] = [torch.where(beyond, *pair) for pair in zip(there, found[1:], strict=True)]
    return Bin(*found), raw


def shares_of(raw: Sequence[Tensor]) -> list[Tensor]:
    """Return the softmax over a list."""
    top = reduce(torch.maximum, raw)
    grown = [(each - top).exp() for each in raw]
    whole = 1 / sum(grown)
    return [each * whole for each in grown]


def _knots(shares: Sequence[Tensor], tail: float) -> list[Tensor]:
    scale, least = sizes(len(shares), tail)
    found = [torch.full_like(shares[0], -tail)]
    for share in shares[:-1]:
        found.append(found[-1] + (share * scale + least))
    return [*found, torch.full_like(shares[0], tail)]


def lead_back(
    shares: Tensor,
    number: Tensor,
    of_lower: Tensor,
    of_upper: Tensor,
    of_slopes: Tensor,
    tail: float,
) -> Tensor:
    """Return the gradient of raw (P, 3 K - 1, N) from those of the knots beside x.

    A knot is the sum of the bins before it, and the outermost two stay where they are.

    Args:
        shares: (P, 2, K, N), from `find`, as is the next.
        number: (P, N).
        of_lower: (2, P, N), of the lower knots, x and y.
        of_upper: (2, P, N), of the upper ones.
        of_slopes: (2, P, N), of the raw slopes at both.
        tail: the interval's half length.
    """
    planes, _, bins, length = shares.shape
    scale, _ = sizes(bins, tail)
    # As numbers, without a comparison: it would make truth values first, at twice the time.
    order = torch.arange(bins, device=number.device, dtype=shares.dtype)[:, None]
    before = torch.sub(number.to(shares.dtype)[:, None], order).clamp_(0, 1)
    here = shares.new_zeros(planes, bins, length).scatter_(1, number[:, None], 1.0)
    upper = (of_upper * ((1 - here[:, -1]) * scale)).transpose(0, 1)[:, :, None]
    lower = torch.add(upper, of_lower.transpose(0, 1)[:, :, None], alpha=scale)
    scaled = torch.addcmul(here[:, None] * upper, before[:, None], lower).mul_(shares)
    found = shares.new_empty(planes, 3 * bins - 1, length)
    tables, slopes = found.split((2 * bins, bins - 1), dim=1)
    whole = scaled.sum(dim=2, keepdim=True)
    torch.addcmul(scaled, shares, whole, value=-1, out=tables.unflatten(1, (2, bins)))
    left, right = of_slopes[:, :, None]
    torch.addcmul(here[:, 1:] * left, here[:, :-1], right, out=slopes)
    return found


def lead_back_unrolled(
    raw: Tensor,
    number: Tensor,
    of_lower: Tensor,
    of_upper: Tensor,
    of_slopes: Tensor,
    tail: float,
) -> Tensor:
    """Do the same bin by bin, from raw in place of the shares."""
    bins = (raw.shape[1] + 1) // 3
    scale, _ = sizes(bins, tail)
    tables = raw.unbind(1)
    here = [number == k for k in range(bins)]
    found: list[Tensor] = []
    for start, of_low, of_up in zip((0, bins), of_lower, of_upper, strict=True):
        upper = torch.where(here[-1], 0.0, of_up * scale)
        lower = of_low * scale + upper
        shares = shares_of(tables[start : start + bins])
        scaled = [
            share * torch.where(here[k], upper, torch.where(number > k, lower, 0.0))
            for k, share in enumerate(shares)
        ]
        whole = sum(scaled)
        found += [each - share * whole for each, share in zip(scaled, shares, strict=True)]
    left, right = of_slopes
    for k in range(1, bins):
        found.append(torch.where(here[k], left, torch.where(here[k - 1], right, 0.0)))
    return torch.stack(found, dim=1)
