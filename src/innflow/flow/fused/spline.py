"""The rational-quadratic spline with its gradient written out, in few operations.

Parameters stand in one row for each of the 3 K - 1 parameters of a spline: a softmax over K rows is
many times faster than one over K neighbours in memory. The bin of a value is selected by products
with a table of zeros and ones, which is many times faster than `gather`. The curve is evaluated by
linear interpolations (de Casteljau's algorithm).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from innflow.flow.fused.derivative import needs_plain_gradients, plain_gradients
from innflow.flow.spline import MIN_SLOPE, MIN_WIDTH, SLOPE_OFFSET, Spline, solve


def forward(spline: Spline, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return `spline.forward(x, parameters)` for x (B, F, ...)."""
    y, log_slope = _RationalQuadratic.apply(spline, x, parameters)
    return y, log_slope


def inverse(spline: Spline, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return `spline.inverse(y, parameters)` for y (B, F, ...)."""
    row, rows = _row(y), _rows(parameters, spline.parameters)
    if not torch.is_grad_enabled():
        x, log_slope, _ = _evaluate(spline, row, rows, inverse=True)
        return _unrow(x, y), _unrow(log_slope.neg_(), y)
    x, log_slope = spline.inverse(row[None, None], rows[None])
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


class _RationalQuadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spline: Spline, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|dy/dx|, both (B, F, ...)."""
        y, log_slope, kept = _evaluate(spline, _row(x), _rows(parameters, spline.parameters))
        ctx.save_for_backward(x, parameters, *kept)
        ctx.spline = spline
        return _unrow(y, x), _unrow(log_slope, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of the parameters."""
        x, parameters, *kept = ctx.saved_tensors
        if needs_plain_gradients(grads):
            return None, *plain_gradients(ctx.spline.forward, (x, parameters), grads)
        grad_x, grad_rows = _gradients(ctx.spline, kept, *map(_row, grads))
        return None, _unrow(grad_x, x), _unrow(grad_rows.t().reshape(-1), parameters)


def linear(spline: Spline, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the parameters of `apply`, linear in hidden values (B, H), as rows (3 K - 1, F B)."""
    # The parameters of a feature stand in rows at once, so that none has to be transposed.
    product = torch.addmm(bias[:, None], weight, hidden.t())
    shape = len(bias) // spline.parameters, spline.parameters, len(hidden)
    return product.view(shape).transpose(0, 1).flatten(1)


def apply(spline: Spline, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return y and log|dy/dx| of x (B, F), and the values that `gradients` needs."""
    y, log_slope, kept = _evaluate(spline, x.t().reshape(-1), rows)
    return y.view(x.t().shape).t(), log_slope.view(x.t().shape).t(), kept


def undo(spline: Spline, y: Tensor, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return x of y (B, F), the inverse of `apply`, and the values that `gradients` needs."""
    x, _, kept = _evaluate(spline, y.t().reshape(-1), rows, inverse=True)
    return x.view(y.t().shape).t(), kept


def gradients(
    spline: Spline, kept: Sequence[Tensor], grad_y: Tensor, grad_log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x (B, F) and of the parameters (B, F * (3 K - 1))."""
    shape = grad_y.t().shape
    grad_x, grad_rows = _gradients(
        spline, kept, grad_y.t().reshape(-1), grad_log_slope.t().reshape(-1)
    )
    grad_product = grad_rows.view(spline.parameters, *shape).transpose(0, 1).flatten(0, 1)
    return grad_x.view(shape).t(), grad_product.t()


def _evaluate(
    spline: Spline, values: Tensor, rows: Tensor, inverse: bool = False
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return y of x (N,) or x of y, log|dy/dx|, and the values that `_gradients` needs."""
    bins, tail = spline.bins, spline.tail
    clamped = values.clamp(-tail, tail)
    outside = clamped != values
    position = clamped.add_(tail)
    shares = rows[: 2 * bins].view(2, bins, -1).softmax(dim=1)  # of widths and heights
    sizes = shares.mul(2 * tail * (1 - MIN_WIDTH * bins)).add_(2 * tail * MIN_WIDTH)
    # Row k is 1 if bin k - 1 is before that of the value, and row K + 1 + k if it is bin k.
    table = values.new_ones(2 * bins + 1, len(values))
    table[bins].zero_()
    torch.ge(position, sizes[int(inverse), :-1].cumsum(dim=0), out=table[1:bins])
    torch.sub(table[:bins], table[1 : bins + 1], out=table[bins + 1 :])
    selection = table[1:].view(2, bins, -1)
    left, width, bottom, height = (sizes[:, None] * selection).sum(dim=2).flatten(0, 1).unbind()
    raw_slopes = (rows[2 * bins :] * _beside(selection[1])).sum(dim=1).add_(SLOPE_OFFSET)
    slope_right, slope_left = F.softplus(raw_slopes).add_(MIN_SLOPE).unbind()
    mean_slope = height / width
    if inverse:
        theta = solve(position - bottom, height, mean_slope, slope_left, slope_right)
    else:
        theta = (position - left).div_(width).clamp_(0, 1)
    lower = slope_left.lerp(mean_slope, theta)
    upper = mean_slope.lerp(slope_right, theta)
    numerator = lower.lerp(upper, theta)
    denominator = upper.lerp(lower, theta)
    share = (theta * lower).div_(denominator)  # of the height of the bin
    start, size, part = (left, width, theta) if inverse else (bottom, height, share)
    result = torch.addcmul(start, size, part).sub_(tail)
    log_slope = (mean_slope / denominator).square_().mul_(numerator).log_()
    kept = (
        outside, selection, shares, raw_slopes, width, height, slope_left, slope_right, mean_slope,
        theta, lower, upper, numerator, denominator, share,
    )  # fmt: skip
    return torch.where(outside, values, result), log_slope.masked_fill_(outside, 0), kept


def _beside(here: Tensor) -> Tensor:
    """Return marks of the knots below and above which a bin is marked, (2, K - 1, N).

    Args:
        here: (K, N), 1 in marked bins and 0 in the others.
    """
    return here.unfold(0, len(here) - 1, 1).transpose(1, 2)


def _gradients(
    spline: Spline, kept: Sequence[Tensor], grad_y: Tensor, grad_log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x (N,) and of the parameters (3 K - 1, N)."""
    (
        outside, selection, shares, raw_slopes, width, height, slope_left, slope_right, mean_slope,
        theta, lower, upper, numerator, denominator, share,
    ) = kept  # fmt: skip
    bins = spline.bins
    grad_bottom = grad_y.masked_fill(outside, 0)
    grad_log = grad_log_slope.masked_fill(outside, 0)
    twice = grad_log + grad_log
    grad_share = grad_bottom * height
    grad_rise = grad_share / denominator
    grad_denominator = torch.addcmul(twice, grad_share, share).div_(denominator).neg_()
    grad_numerator = grad_log / numerator
    grad_lower = grad_numerator.lerp(grad_rise + grad_denominator, theta)
    grad_upper = grad_denominator.lerp(grad_numerator, theta)
    grad_mean = grad_upper.lerp(grad_lower, theta).addcdiv_(twice, mean_slope)
    grad_theta = (
        (grad_rise * lower)
        .addcmul_(grad_numerator - grad_denominator, upper - lower)
        .addcmul_(grad_lower, mean_slope - slope_left)
        .addcmul_(grad_upper, slope_right - mean_slope)
    )
    rest = torch.addcmul(grad_lower, grad_lower, theta, value=-1)
    grad_slopes = torch.ops.aten.softplus_backward(
        torch.stack((grad_upper * theta, rest)), raw_slopes, 1, 20
    )
    grad_position = grad_theta / width
    grad_ratio = grad_mean / width
    grad_width = (grad_ratio * mean_slope).addcmul_(grad_position, theta).neg_()
    grad_height = torch.addcmul(grad_ratio, grad_bottom, share)
    grad_bins = torch.stack((-grad_position, grad_width, grad_bottom, grad_height))
    grad_bins = grad_bins.mul_(2 * spline.tail * (1 - MIN_WIDTH * bins)).view(2, 2, 1, -1)
    before, here = selection.unbind()
    grad_shares = (grad_bins[:, 0] * before).addcmul_(grad_bins[:, 1], here)
    grad = shares.new_empty(3 * bins - 1, len(theta))
    tables, slopes = grad.split_with_sizes((2 * bins, bins - 1))
    torch._softmax_backward_data(
        grad_shares, shares, 1, shares.dtype, grad_input=tables.view(2, bins, -1)
    )
    torch.sum(_beside(here) * grad_slopes[:, None], dim=0, out=slopes)
    return torch.where(outside, grad_y, grad_position), grad
