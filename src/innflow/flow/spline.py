"""The monotone rational-quadratic spline, without boolean indexing.

Same mathematics as `nflows.transforms.splines.rational_quadratic` (arXiv:1906.04032), but every
element takes the same path: the input is clamped into the interval, the bin is found by counting
knots, and `where` picks the identity outside. One graph for `torch.compile`, no gather by mask.
Inside, bins are the first axis: a softmax over eight neighbours in memory is twenty times slower.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_WIDTH = 1e-3
"""Least width and height of a bin, as a share of the interval."""
MIN_SLOPE = 1e-3
SLOPE_OF_ONE = math.log(math.expm1(1 - MIN_SLOPE))
"""What is added to raw slopes, so that 0 means a slope of 1."""
MAX_BINS = 1000
"""So many bins of the least width would fill the interval, and widths turn negative."""


def _ends(inner: Tensor, low: float, high: float) -> Tensor:
    """Return a table with a constant row before and one after."""
    row = inner.new_empty(1, *inner.shape[1:])
    return torch.cat((row.fill_(low), inner, torch.full_like(row, high)))


def _slopes(raw: Tensor) -> Tensor:
    """Return the K + 1 slopes at the knots: 1 at both ends, and 1 inside where raw = 0."""
    slopes = MIN_SLOPE + F.softplus(raw + SLOPE_OF_ONE)
    return _ends(slopes, 1.0, 1.0)


def _clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Return x clamped, with gradient 1 on the bounds too: knots and edges are ordinary points."""
    return torch.where((x >= low) & (x <= high), x, x.detach().clamp(low, high))


def rational_quadratic_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    tail: float,
    inverse: bool = False,
    dim: int = -1,
) -> tuple[Tensor, Tensor]:
    """Apply a monotone spline on [-tail, tail], the identity outside, element by element.

    Args:
        x: inputs of any shape.
        widths: unnormalised bin widths, shape of x and one more axis of K bins.
        heights: unnormalised bin heights, likewise.
        slopes: unnormalised slopes at the inner knots, likewise with K - 1.
        tail: the interval's half length.
        inverse: map outputs back to inputs.
        dim: the axis of the bins.

    Returns:
        Outputs and log|derivative| of the direction computed, both of the shape of x.
    """
    knots_x = _place(widths.softmax(dim).movedim(dim, 0), MIN_WIDTH, tail)
    knots_y = _place(heights.softmax(dim).movedim(dim, 0), MIN_WIDTH, tail)
    inside = (x >= -tail) & (x <= tail)
    value = _clamp(x, -tail, tail)

    searched = knots_y if inverse else knots_x
    index = (value >= searched[1:-1]).sum(dim=0, keepdim=True)

    def at(table: Tensor, offset: int = 0) -> Tensor:
        return table.gather(0, index + offset).squeeze(0)

    slope_table = _slopes(slopes.movedim(dim, 0))
    left, bottom = at(knots_x), at(knots_y)
    width, height = at(knots_x, 1) - left, at(knots_y, 1) - bottom
    slope_left, slope_right = at(slope_table), at(slope_table, 1)
    mean_slope = height / width
    bend = slope_left + slope_right - 2 * mean_slope

    if inverse:
        rise = value - bottom
        a = rise * bend + height * (mean_slope - slope_left)
        b = height * slope_left - rise * bend
        c = -mean_slope * rise
        # Rounding can push the discriminant a little under 0, never the mathematics. The floor is
        # not 0 itself, where the gradient of the root is infinite.
        root = torch.sqrt((b * b - 4 * a * c).clamp(min=torch.finfo(x.dtype).tiny))
        theta = _clamp(2 * c / (-b - root), 0.0, 1.0)
        result = theta * width + left
    else:
        theta = (value - left) / width

    product = theta * (1 - theta)
    denominator = mean_slope + bend * product
    if not inverse:
        result = bottom + height * (mean_slope * theta**2 + slope_left * product) / denominator
    numerator = mean_slope**2 * (
        slope_right * theta**2 + 2 * mean_slope * product + slope_left * (1 - theta) ** 2
    )
    log_slope = torch.log(numerator) - 2 * torch.log(denominator)
    if inverse:
        log_slope = -log_slope
    return torch.where(inside, result, x), torch.where(inside, log_slope, torch.zeros_like(x))


def _place(shares: Tensor, minimum: float, tail: float) -> Tensor:
    """Return the K + 1 positions on [-tail, tail] of K bins from their shares before the least."""
    widths = minimum + (1 - minimum * len(shares)) * shares[:-1]
    return _ends(widths.cumsum(dim=0) * (2 * tail) - tail, -tail, tail)
