"""The rational-quadratic spline with its gradient written out, for training.

Autograd walks through two hundred small operations here, each of which costs more than its
arithmetic. The gradient in closed form takes a third of them and keeps less. Parameters are read as
planes, one a parameter: a softmax over eight neighbours in memory is twenty times slower than one
over eight planes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from innflow.flow.fused import spline_bins
from innflow.flow.fused.planes import Planes
from innflow.flow.spline import MIN_SLOPE, SLOPE_OF_ONE


class RationalQuadratic(torch.autograd.Function):
    """`rational_quadratic_spline` from left to right, with its gradient written out."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, parameters: Tensor, bins: int, tail: float, unrolled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return outputs and log slopes, both of the shape of x.

        Args:
            ctx: keeps what `backward` needs.
            x: (B, F, ...).
            parameters: (B, F * (3 K - 1), ...), of each feature the unnormalised widths, heights
                and inner slopes in turn.
            bins: K.
            tail: the interval's half length.
            unrolled: whether to spell out every bin.
        """
        planes = Planes(x, parameters, 3 * bins - 1)
        value, raw = planes.values(x), planes.tables(parameters)
        inside = (value >= -tail) & (value <= tail)
        clamped = value.clamp(-tail, tail)
        find = spline_bins.find_unrolled if unrolled else spline_bins.find
        found, tables = find(clamped, raw, bins, tail)
        raw_slopes = torch.stack((found.raw_left, found.raw_right))
        slope_left, slope_right = F.softplus(raw_slopes + SLOPE_OF_ONE) + MIN_SLOPE
        width, height = found.right - found.left, found.top - found.bottom
        mean_slope = height / width
        theta = (clamped - found.left) / width
        rest = 1 - theta
        product = theta * rest
        bend = slope_left + slope_right - 2 * mean_slope
        rise = theta * (mean_slope * theta + slope_left * rest)
        denominator = mean_slope + bend * product
        numerator = slope_right * theta**2 + 2 * mean_slope * product + slope_left * rest**2
        result = found.bottom + height * rise / denominator
        log_slope = torch.log(mean_slope**2 * numerator) - 2 * torch.log(denominator)
        ctx.save_for_backward(
            inside, found.number, tables, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        )  # fmt: skip
        ctx.planes, ctx.tail, ctx.unrolled = planes, tail, unrolled
        return planes.whole(torch.where(inside, result, value)), planes.whole(log_slope * inside)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of the parameters."""
        (
            inside, number, tables, raw_slopes, width, height, slope_left, slope_right,
            theta, rise, denominator, numerator,
        ) = ctx.saved_tensors  # fmt: skip
        of_outputs, of_log = (ctx.planes.values(grad) for grad in grads)
        grad_y, grad_log = of_outputs * inside, of_log * inside
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
        ) * torch.sigmoid(raw_slopes + SLOPE_OF_ONE)
        of_height = grad_y * rise / denominator + of_mean / width
        of_value = of_theta / width
        of_width = -(of_mean * mean_slope + of_theta * theta) / width
        of_lower = torch.stack((-of_value - of_width, grad_y - of_height))
        of_upper = torch.stack((of_width, of_height))
        lead_back = spline_bins.lead_back_unrolled if ctx.unrolled else spline_bins.lead_back
        of_tables = lead_back(tables, number, of_lower, of_upper, of_slopes, ctx.tail)
        of_x = ctx.planes.whole(torch.where(inside, of_value, of_outputs))
        return of_x, ctx.planes.together(of_tables), None, None, None
