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
MIN_HEIGHT = 1e-3
MIN_SLOPE = 1e-3
MAX_BINS = 1000
"""So many bins of the least width would fill the interval, and widths turn negative."""


def _ends(inner: Tensor, low: float, high: float) -> Tensor:
    """Return a table with a constant row before and one after."""
    row = inner.new_empty(1, *inner.shape[1:])
    return torch.cat((row.fill_(low), inner, torch.full_like(row, high)))


def _slopes(raw: Tensor) -> Tensor:
    """Return the K + 1 slopes at the knots: 1 at both ends, and 1 inside where raw = 0."""
    slopes = MIN_SLOPE + F.softplus(raw + math.log(math.expm1(1 - MIN_SLOPE)))
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
    knots_y = _place(heights.softmax(dim=-1).movedim(-1, 0), MIN_HEIGHT, tail)
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
    arithmetic. The gradient in closed form takes a third of them, and keeps less.
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
        first = raw.movedim(-1, 0).contiguous()
        raw_widths, raw_heights, raw_slopes = first.split((bins, bins, bins - 1))
        shares_x, shares_y = raw_widths.softmax(dim=0), raw_heights.softmax(dim=0)
        knots_x, knots_y = _place(shares_x, MIN_WIDTH, tail), _place(shares_y, MIN_HEIGHT, tail)
        slopes = _slopes(raw_slopes)
        inside = (x >= -tail) & (x <= tail)
        value = x.clamp(-tail, tail)
        index = (value >= knots_x[1:-1]).sum(dim=0, keepdim=True)
        both = torch.cat((index, index + 1))
        left, right = knots_x.gather(0, both)
        bottom, top = knots_y.gather(0, both)
        slope_left, slope_right = slopes.gather(0, both)
        width, height = right - left, top - bottom
        mean_slope = height / width
        theta = (value - left) / width
        product = theta * (1 - theta)
        bend = slope_left + slope_right - 2 * mean_slope
        rise = theta * (mean_slope * theta + slope_left * (1 - theta))
        denominator = mean_slope + bend * product
        numerator = (
            slope_right * theta**2 + 2 * mean_slope * product + slope_left * (1 - theta) ** 2
        )
        result = bottom + height * rise / denominator
        log_slope = torch.log(mean_slope**2 * numerator) - 2 * torch.log(denominator)
        ctx.save_for_backward(
            inside, index, shares_x, shares_y, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        )  # fmt: skip
        ctx.tail = tail
        return torch.where(inside, result, x), torch.where(inside, log_slope, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of x and of raw."""
        (
            inside, index, shares_x, shares_y, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        ) = ctx.saved_tensors  # fmt: skip
        grad_y, grad_log = (torch.where(inside, grad, 0.0) for grad in grads)
        mean_slope, product, turn = height / width, theta * (1 - theta), 1 - 2 * theta
        bend = slope_left + slope_right - 2 * mean_slope
        of_rise = grad_y * height / denominator
        of_denominator = -(of_rise * rise + 2 * grad_log) / denominator
        of_numerator = grad_log / numerator
        of_theta = (
            of_rise * (2 * mean_slope * theta + slope_left * turn)
            + of_denominator * bend * turn
            + 2
            * of_numerator
            * (slope_right * theta + mean_slope * turn - slope_left * (1 - theta))
        )
        of_mean = (
            of_rise * theta**2
            + of_denominator * (1 - 2 * product)
            + 2 * of_numerator * product
            + 2 * grad_log / mean_slope
        )
        of_left_slope = (of_rise + of_denominator) * product + of_numerator * (1 - theta) ** 2
        of_right_slope = of_denominator * product + of_numerator * theta**2
        of_height = grad_y * rise / denominator + of_mean / width
        of_value = of_theta / width
        of_width = -(of_mean * mean_slope + of_theta * theta) / width
        grad_raw = torch.cat(
            (
                _unplace(shares_x, MIN_WIDTH, ctx.tail, index, -of_value - of_width, of_width),
                _unplace(shares_y, MIN_HEIGHT, ctx.tail, index, grad_y - of_height, of_height),
                _unslope(raw_slopes, index, of_left_slope, of_right_slope),
            )
        )
        return torch.where(inside, of_value, grads[0]), grad_raw.movedim(0, -1), None, None


def _place(shares: Tensor, minimum: float, tail: float) -> Tensor:
    """Return the K + 1 positions on [-tail, tail] of K bins from their shares before the least."""
    widths = minimum + (1 - minimum * len(shares)) * shares[:-1]
    return _ends(widths.cumsum(dim=0) * (2 * tail) - tail, -tail, tail)


def _unplace(
    shares: Tensor, minimum: float, tail: float, index: Tensor, lower: Tensor, upper: Tensor
) -> Tensor:
    """Return the gradient of unnormalised widths from those of the knots below and above x.

    A knot is the sum of the bins before it, and the outermost two stay where they are.
    """
    bins = len(shares)
    order = _order(bins, index)
    before_lower = order < index
    before_upper = (order <= index) & (index < bins - 1)
    scaled = (lower * before_lower + upper * before_upper) * shares
    scale = 2 * tail * (1 - minimum * bins)
    return scale * (scaled - shares * scaled.sum(dim=0))


def _unslope(raw: Tensor, index: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the gradient of unnormalised inner slopes from those at the knots beside x."""
    order = _order(len(raw), index) + 1
    grad = left * (order == index) + right * (order == index + 1)
    return grad * torch.sigmoid(raw + math.log(math.expm1(1 - MIN_SLOPE)))


def _order(rows: int, index: Tensor) -> Tensor:
    """Return 0, 1, ... along the first axis, to be compared with an index (1, ...)."""
    return torch.arange(rows, device=index.device).view(-1, *(1,) * (index.dim() - 1))
