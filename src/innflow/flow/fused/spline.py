"""The rational-quadratic spline with its gradient written out.

Parameters are transposed first, to one row for each of the 3 K - 1 parameters of a spline: a
softmax over K rows is many times faster than one over K neighbours in memory. The gradient in
closed form takes fewer operations than autograd's and stores less.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from innflow.flow.fused.derivative import needs_plain_gradients, plain_gradients
from innflow.flow.spline import MIN_SLOPE, MIN_WIDTH, SLOPE_OFFSET, Spline


def forward(spline: Spline, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return `spline.forward(x, parameters)` for x (B, F, ...)."""
    y, log_slope = _RationalQuadratic.apply(spline, x, parameters)
    return y, log_slope


def inverse(spline: Spline, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return `spline.inverse(y, parameters)` for y (B, F, ...)."""
    rows = _rows(parameters, spline.parameters)
    x, log_slope = spline.inverse(_row(y)[None, None], rows[None])
    return _unrow(x[0, 0], y), _unrow(log_slope[0, 0], y)


def _row(x: Tensor) -> Tensor:
    """Return (B, F, ...) as one row (N,), with features next to each other."""
    return x.movedim(1, -1).reshape(-1)


def _unrow(row: Tensor, like: Tensor) -> Tensor:
    """Return a row (N,) in the shape (B, F, ...) of another tensor: the inverse of `_row`."""
    return row.view(len(like), *like.shape[2:], like.shape[1]).movedim(-1, 1)


def _rows(parameters: Tensor, count: int) -> Tensor:
    """Return parameters (B, F * count, ...) as contiguous rows (count, N)."""
    # In two dimensions a transposition is copied block by block, three times as fast.
    return parameters.movedim(1, -1).reshape(-1, count).t().contiguous()


def _unrows(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows (count, N) in the shape (B, F * count, ...) of another tensor."""
    joined = rows.t().contiguous()
    return joined.view(len(like), *like.shape[2:], like.shape[1]).movedim(-1, 1)


class _RationalQuadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spline: Spline, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|dy/dx|, both (B, F, ...)."""
        bins, tail = spline.bins, spline.tail
        value, raw = _row(x), _rows(parameters, spline.parameters)
        inside = (value >= -tail) & (value <= tail)
        clamped = value.clamp(-tail, tail)
        shares = raw[: 2 * bins].unflatten(0, (2, bins)).softmax(dim=1)  # of widths and heights
        number, (left, right), (bottom, top) = _find_bin(clamped, shares, tail)
        knots = torch.stack((number, number + 1))
        inner = (knots > 0) & (knots < bins)
        raw_slopes = raw[2 * bins :].gather(0, (knots - 1).clamp(0, bins - 2)) * inner
        slope_left, slope_right = F.softplus(raw_slopes + SLOPE_OFFSET) + MIN_SLOPE
        width, height = right - left, top - bottom
        mean_slope = height / width
        theta = (clamped - left) / width
        rest = 1 - theta
        product = theta * rest
        rise = theta * (mean_slope * theta + slope_left * rest)
        denominator = mean_slope + (slope_left + slope_right - 2 * mean_slope) * product
        numerator = slope_right * theta**2 + 2 * mean_slope * product + slope_left * rest**2
        y = torch.where(inside, bottom + height * rise / denominator, value)
        log_slope = torch.log(mean_slope**2 * numerator) - 2 * torch.log(denominator)
        ctx.save_for_backward(
            x, parameters, inside, number, shares, raw_slopes, width, height, slope_left,
            slope_right, theta, rise, denominator, numerator,
        )  # fmt: skip
        ctx.spline = spline
        return _unrow(y, x), _unrow(log_slope * inside, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of the parameters."""
        (
            x, parameters, inside, number, shares, raw_slopes, width, height, slope_left,
            slope_right, theta, rise, denominator, numerator,
        ) = ctx.saved_tensors  # fmt: skip
        if needs_plain_gradients(grads):
            return None, *plain_gradients(ctx.spline.forward, (x, parameters), grads)
        grad_outputs, grad_log_slope = (_row(grad) for grad in grads)
        grad_y, grad_log = grad_outputs * inside, grad_log_slope * inside
        mean_slope, rest, turn = height / width, 1 - theta, 1 - 2 * theta
        product, square, rest_square = theta * rest, theta**2, rest**2
        bend = slope_left + slope_right - 2 * mean_slope
        grad_rise = grad_y * height / denominator
        grad_denominator = -(grad_rise * rise + 2 * grad_log) / denominator
        grad_numerator = grad_log / numerator
        grad_theta = (
            grad_rise * (2 * mean_slope * theta + slope_left * turn)
            + grad_denominator * bend * turn
            + 2 * grad_numerator * (slope_right * theta + mean_slope * turn - slope_left * rest)
        )
        grad_mean = (
            grad_rise * square
            + grad_denominator * (1 - 2 * product)
            + 2 * grad_numerator * product
            + 2 * grad_log / mean_slope
        )
        grad_slopes = torch.stack(
            (
                (grad_rise + grad_denominator) * product + grad_numerator * rest_square,
                grad_denominator * product + grad_numerator * square,
            )
        ) * torch.sigmoid(raw_slopes + SLOPE_OFFSET)
        grad_height = grad_y * rise / denominator + grad_mean / width
        grad_value = grad_theta / width
        grad_width = -(grad_mean * mean_slope + grad_theta * theta) / width
        grad_lower = torch.stack((-grad_value - grad_width, grad_y - grad_height))
        grad_upper = torch.stack((grad_width, grad_height))
        grad_raw = _grad_raw(shares, number, grad_lower, grad_upper, grad_slopes, ctx.spline.tail)
        grad_x = torch.where(inside, grad_value, grad_outputs)
        return None, _unrow(grad_x, x), _unrows(grad_raw, parameters)


def _scales(bins: int, tail: float) -> tuple[float, float]:
    """Return the length of a share of 1, and the smallest length of a bin."""
    return 2 * tail * (1 - MIN_WIDTH * bins), 2 * tail * MIN_WIDTH


def _find_bin(value: Tensor, shares: Tensor, tail: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of the bin (N,) of each value and its knots.

    Args:
        value: (N,), inside the interval.
        shares: (2, K, N), softmax of raw widths and heights.
        tail: half length of the interval.

    Returns:
        Number (N,), and the positions in x and in y of its lower and upper knots, each (2, N).
    """
    bins = shares.shape[1]
    scale, least = _scales(bins, tail)
    sums = shares.cumsum(dim=1)  # knot k stands at scale * sums[k - 1] + least * k - tail
    steps = torch.arange(1, bins, device=value.device, dtype=value.dtype)[:, None]
    relative = torch.sub((value + tail) / scale, steps, alpha=least / scale)
    number = (relative >= sums[0, :-1]).sum(dim=0)
    knots = torch.stack((number, number + 1))
    indices = (knots - 1).clamp(min=0).expand(2, -1, -1)
    index = knots.to(value.dtype)
    positions = torch.addcmul(
        index * least - tail, sums.gather(1, indices), index.clamp(max=1), value=scale
    )
    return number, positions[0], positions[1]


def _grad_raw(
    shares: Tensor,
    number: Tensor,
    grad_lower: Tensor,
    grad_upper: Tensor,
    grad_slopes: Tensor,
    tail: float,
) -> Tensor:
    """Return the gradient of the raw parameters (3 K - 1, N).

    Args:
        shares: (2, K, N), softmax of raw widths and heights.
        number: (N,), of the bin of each value.
        grad_lower: (2, N), of the positions in x and y of its lower knot.
        grad_upper: (2, N), of the upper knot.
        grad_slopes: (2, N), of the raw slopes at both.
        tail: half length of the interval.
    """
    _, bins, length = shares.shape
    scale, _ = _scales(bins, tail)
    # A knot is the sum of the bins before it; the outermost two do not move. The comparison is done
    # in floating point, since boolean tensors would have to be converted.
    order = torch.arange(bins, device=number.device, dtype=shares.dtype)[:, None]
    before = torch.sub(number.to(shares.dtype), order).clamp_(0, 1)
    here = shares.new_zeros(bins, length).scatter_(0, number[None], 1.0)
    upper = (grad_upper * ((1 - here[-1]) * scale))[:, None]
    lower = torch.add(upper, grad_lower[:, None], alpha=scale)
    scaled = torch.addcmul(here * upper, before, lower).mul_(shares)
    grad = shares.new_empty(3 * bins - 1, length)
    tables, slopes = grad.split((2 * bins, bins - 1))
    whole = scaled.sum(dim=1, keepdim=True)
    torch.addcmul(scaled, shares, whole, value=-1, out=tables.unflatten(0, (2, bins)))
    torch.addcmul(here[1:] * grad_slopes[0], here[:-1], grad_slopes[1], out=slopes)
    return grad
