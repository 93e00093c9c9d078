"""The monotone rational-quadratic spline, without boolean indexing.

Same mathematics as `nflows.transforms.splines.rational_quadratic` (arXiv:1906.04032), but every
element takes the same path: the input is clamped into the interval, the bin is found by counting
knots, and `where` picks the identity outside. One graph for `torch.compile`, no gather by mask.
Inside, bins are the first axis: a softmax over eight neighbours in memory is twenty times slower.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, tail: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Apply a monotone spline on [-tail, tail], the identity outside, element by element.

    Args:
        x: inputs of any shape.
        widths: unnormalised bin widths, shape of x and a last axis of K bins.
        heights: unnormalised bin heights, likewise.
        slopes: unnormalised slopes at the inner knots, likewise with K - 1.
        tail: the interval's half length.
        inverse: map outputs back to inputs.

    Returns:
        Outputs and log|derivative| of the direction computed, both of the shape of x.
    """
    knots_x = _place(widths.softmax(dim=-1).movedim(-1, 0), MIN_WIDTH, tail)
    knots_y = _place(heights.softmax(dim=-1).movedim(-1, 0), MIN_WIDTH, tail)
    inside = (x >= -tail) & (x <= tail)
    value = _clamp(x, -tail, tail)

    searched = knots_y if inverse else knots_x
    index = (value >= searched[1:-1]).sum(dim=0, keepdim=True)

    def at(table: Tensor, offset: int = 0) -> Tensor:
        return table.gather(0, index + offset).squeeze(0)

    slope_table = _slopes(slopes.movedim(-1, 0))
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


class RationalQuadratic(torch.autograd.Function):
    """`rational_quadratic_spline` from left to right, with its gradient written out.

    Autograd walks through two hundred small operations here, each of which costs more than its
    arithmetic. The gradient in closed form takes a third of them, and keeps less. Widths and
    heights share every pass, and slopes are computed at the two knots beside x alone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, raw: Tensor, bins: int, tail: float) -> tuple[Tensor, Tensor]:
        """Return outputs and log slopes, both of the shape of x.

        Args:
            ctx: keeps what `backward` needs.
            x: inputs of any shape.
            raw: unnormalised widths, heights and inner slopes, shape of x and a last axis 3 K - 1.
            bins: K.
            tail: the interval's half length.
        """
        # In two dimensions a transposition is copied block by block, three times as fast.
        first = raw.reshape(-1, raw.shape[-1]).t().contiguous()
        shares = first[: 2 * bins].unflatten(0, (2, bins)).softmax(dim=1)
        knots = _place_both(shares, tail)
        inside = (x >= -tail) & (x <= tail)
        value = x.clamp(-tail, tail).flatten()
        index = (value >= knots[0, 1:-1]).sum(dim=0, keepdim=True)
        both = torch.cat((index, index + 1))
        (left, right), (bottom, top) = knots.gather(1, both.expand(2, -1, -1))
        raw_slopes = _beside(first[2 * bins :], index)
        slope_left, slope_right = MIN_SLOPE + F.softplus(raw_slopes + SLOPE_OF_ONE)
        width, height = right - left, top - bottom
        mean_slope = height / width
        theta = (value - left) / width
        rest = 1 - theta
        product = theta * rest
        bend = slope_left + slope_right - 2 * mean_slope
        rise = theta * (mean_slope * theta + slope_left * rest)
        denominator = mean_slope + bend * product
        numerator = slope_right * theta**2 + 2 * mean_slope * product + slope_left * rest**2
        result = bottom + height * rise / denominator
        log_slope = torch.log(mean_slope**2 * numerator) - 2 * torch.log(denominator)
        ctx.save_for_backward(
            inside, index, shares, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        )  # fmt: skip
        ctx.tail = tail
        log_slope = log_slope.view_as(x)
        return torch.where(inside, result.view_as(x), x), log_slope * inside

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of x and of raw."""
        (
            inside, index, shares, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        ) = ctx.saved_tensors  # fmt: skip
        grad_y, grad_log = ((grad * inside).flatten() for grad in grads)
        mean_slope, rest, turn = height / width, 1 - theta, 1 - 2 * theta
        product, square, rest_square = theta * rest, theta**2, rest**2
        bend = slope_left + slope_right - 2 * mean_slope
        of_rise = grad_y * height / denominator
        of_denominator = -(of_rise * rise + 2 * grad_log) / denominator
        of_numerator = grad_log / numerator
        of_theta = (
            of_rise * (2 * mean_slope * theta + slope_left * turn)
            + of_denominator * bend * turn
            + 2 * of_numerator * (slope_right * theta + mean_slope * turn - slope_left * rest)
        )
        of_mean = (
            of_rise * square
            + of_denominator * (1 - 2 * product)
            + 2 * of_numerator * product
            + 2 * grad_log / mean_slope
        )
        of_slopes = torch.stack(
            (
                (of_rise + of_denominator) * product + of_numerator * rest_square,
                of_denominator * product + of_numerator * square,
            )
        )
        of_height = grad_y * rise / denominator + of_mean / width
        of_value = of_theta / width
        of_width = -(of_mean * mean_slope + of_theta * theta) / width
        of_lower = torch.stack((-of_value - of_width, grad_y - of_height))
        of_upper = torch.stack((of_width, of_height))

        bins = shares.shape[1]
        # Numbers in place of truth values: products are vectorised, choices are not.
        order = torch.arange(bins, device=index.device)[:, None]
        before, here = (order < index).to(shares.dtype), (order == index).to(shares.dtype)
        of_shares = _unplace_both(shares, before, here, of_lower, of_upper, ctx.tail)
        of_left, of_right = of_slopes * torch.sigmoid(raw_slopes + SLOPE_OF_ONE)
        of_raw_slopes = torch.addcmul(here[1:] * of_left, here[:-1], of_right)
        grad_raw = torch.cat((of_shares.flatten(0, 1), of_raw_slopes)).t().contiguous()
        of_x = torch.where(inside, of_value.view_as(inside), grads[0])
        return of_x, grad_raw.view(*inside.shape, -1), None, None


def _place_both(shares: Tensor, tail: float) -> Tensor:
    """Return the positions (2, K + 1, N) of the knots from shares (2, K, N) before the least."""
    scale = 2 * tail * (1 - MIN_WIDTH * shares.shape[1])
    inner = (shares[:, :-1] * scale).add_(2 * tail * MIN_WIDTH).cumsum(dim=1).sub_(tail)
    ends = inner.new_tensor([-tail, tail])[:, None, None].expand(2, 2, inner.shape[2])
    return torch.cat((ends[0][:, None], inner, ends[1][:, None]), dim=1)


def _unplace_both(
    shares: Tensor,
    before: Tensor,
    here: Tensor,
    of_lower: Tensor,
    of_upper: Tensor,
    tail: float,
) -> Tensor:
    """Return the gradients of unnormalised widths and heights from those of the knots beside x.

    A knot is the sum of the bins before it, and the outermost two stay where they are.

    Args:
        shares: (2, K, N).
        before: (K, N), 1 in the bins before that of x, else 0.
        here: (K, N), 1 in the bin of x, else 0.
        of_lower: (2, N), of the knots below x.
        of_upper: (2, N), of the knots above x.
        tail: the interval's half length.
    """
    scale = 2 * tail * (1 - MIN_WIDTH * shares.shape[1])
    upper = (of_upper * ((1 - here[-1]) * scale))[:, None]
    lower = torch.add(upper, of_lower[:, None], alpha=scale)
    scaled = torch.addcmul(here * upper, before, lower).mul_(shares)
    return torch.addcmul(scaled, shares, scaled.sum(dim=1, keepdim=True), value=-1)


def _beside(raw: Tensor, index: Tensor) -> Tensor:
    """Return raw slopes (2, N) at the knots beside x: 0, a slope of 1, at the outermost."""
    last = len(raw)
    left = raw.gather(0, (index - 1).clamp_(min=0)) * (index > 0)
    right = raw.gather(0, index.clamp(max=last - 1)) * (index < last)
    return torch.cat((left, right))


def _place(shares: Tensor, minimum: float, tail: float) -> Tensor:
    """Return the K + 1 positions on [-tail, tail] of K bins from their shares before the least."""
    widths = minimum + (1 - minimum * len(shares)) * shares[:-1]
    return _ends(widths.cumsum(dim=0) * (2 * tail) - tail, -tail, tail)
