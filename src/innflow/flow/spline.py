"""The monotone rational-quadratic spline of neural spline flows."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from innflow.errors import InnflowError

MIN_WIDTH = 1e-3
"""Smallest width and height of a bin, as a share of the interval."""
MIN_SLOPE = 1e-3
SLOPE_OFFSET = math.log(math.expm1(1 - MIN_SLOPE))
"""Added to raw slopes, so that 0 gives a slope of 1."""
MAX_BINS = 1000
"""MAX_BINS * MIN_WIDTH = 1: no width left to distribute."""


@dataclass(frozen=True)
class Spline:
    """Monotone rational-quadratic spline on [-tail, tail], the identity outside.

    The mathematics of Durkan et al. (arXiv:1906.04032) and of nflows' implementation, without
    boolean indexing: inputs are clamped to the interval, and `where` selects the identity outside.
    Inputs should be of order one; an ActNorm before the coupling provides that.

    Of the parameters (B, F * (3 K - 1), ...) those of one feature stand together: K unnormalised
    widths, K unnormalised heights, and K - 1 raw slopes at the inner knots.

    Args:
        bins: number K of bins, at least 2.
        tail: half length of the interval, above 0.

    Raises:
        InnflowError: if `bins` or `tail` is out of range.

    Example:
        >>> spline = Spline(bins=4)
        >>> y, log_slope = spline.forward(torch.tensor([[0.3]]), torch.zeros(1, spline.parameters))
        >>> torch.allclose(y, torch.tensor([[0.3]]))
        True
    """

    bins: int = 8
    tail: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.bins < MAX_BINS or self.tail <= 0:
            raise InnflowError(
                f"spline coupling: bins={self.bins}, tail={self.tail}: "
                f"must be 2 <= bins < {MAX_BINS}, tail > 0"
            )

    @property
    def parameters(self) -> int:
        """Number of parameters per feature: widths, heights and inner slopes."""
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F, ...) to y and log|dy/dx|."""
        value = _clamp(x, self.tail)
        left, bottom, slope_left, right, top, slope_right = self._bin(value, parameters, 0)
        mean_slope = (top - bottom) / (right - left)
        theta = (value - left) / (right - left)
        share, log_slope = _curve(theta, mean_slope, slope_left, slope_right)
        return self._inside(x, bottom + (top - bottom) * share, log_slope)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map y (B, F, ...) to x and log|dx/dy|."""
        value = _clamp(y, self.tail)
        left, bottom, slope_left, right, top, slope_right = self._bin(value, parameters, 1)
        mean_slope = (top - bottom) / (right - left)
        theta = solve(value - bottom, top - bottom, mean_slope, slope_left, slope_right)
        _, log_slope = _curve(theta, mean_slope, slope_left, slope_right)
        return self._inside(y, left + (right - left) * theta, -log_slope)

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return log|dy/dx| at x and y - x."""
        outputs, log_slope = self.forward(x, parameters)
        return log_slope, outputs - x

    def _bin(self, value: Tensor, parameters: Tensor, searched: int) -> tuple[Tensor, ...]:
        """Return x, y and slope at the lower, then at the upper knot of the bin of each value.

        Args:
            value: (B, F, ...).
            parameters: (B, F * (3 K - 1), ...).
            searched: 0 if the values lie between knots in x, 1 if in y.
        """
        knots = self._knots(parameters.unflatten(1, (value.shape[1], self.parameters)))
        number = (value.unsqueeze(2) >= knots[:, :, searched, 1:-1]).sum(dim=2)
        index = number[:, :, None, None].expand_as(knots[:, :, :, :1])
        ends = torch.cat((knots.gather(3, index), knots.gather(3, index + 1)), dim=2)
        return ends.squeeze(3).unbind(2)

    def _knots(self, raw: Tensor) -> Tensor:
        """Return x, y and slope at the K + 1 knots, (B, F, 3, K + 1, ...)."""
        sizes, slopes = raw.split((2 * self.bins, self.bins - 1), dim=2)
        shares = sizes.unflatten(2, (2, self.bins)).softmax(dim=3)
        shares = MIN_WIDTH + (1 - MIN_WIDTH * self.bins) * shares
        positions = 2 * self.tail * shares[:, :, :, :-1].cumsum(dim=3) - self.tail
        inner = (MIN_SLOPE + F.softplus(slopes + SLOPE_OFFSET)).unsqueeze(2)
        ends = _with_ends(positions, -self.tail, self.tail), _with_ends(inner, 1.0, 1.0)
        return torch.cat(ends, dim=2)

    def _inside(self, value: Tensor, result: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        inside = value.abs() <= self.tail
        return result.where(inside, value), log_slope.where(inside, torch.zeros_like(value))


def _with_ends(inner: Tensor, first: float, last: float) -> Tensor:
    """Return a table with a constant before and after it along dim 3."""
    end = inner[:, :, :, :1]
    return torch.cat((torch.full_like(end, first), inner, torch.full_like(end, last)), dim=3)


def _clamp(x: Tensor, bound: float) -> Tensor:
    """Return x clamped to [-bound, bound], with gradient 1 on the bounds as well."""
    return torch.where(x.abs() <= bound, x, x.detach().clamp(-bound, bound))


def _curve(theta: Tensor, mean_slope: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of its height that a bin has risen at the share theta, and log dy/dx.

    Args:
        theta: share of the width of the bin.
        mean_slope: of the bin.
        left: slope at its lower knot.
        right: slope at its upper knot.
    """
    rest = 1 - theta
    product = theta * rest
    denominator = mean_slope + (left + right - 2 * mean_slope) * product
    numerator = right * theta.square() + 2 * mean_slope * product + left * rest.square()
    share = (mean_slope * theta.square() + left * product) / denominator
    return share, 2 * torch.log(mean_slope) + torch.log(numerator) - 2 * torch.log(denominator)


def solve(rise: Tensor, height: Tensor, mean_slope: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the share theta of the width at which a bin has risen so far, by a quadratic equation.

    The slopes are those of `_curve`.
    """
    bend = left + right - 2 * mean_slope
    a = rise * bend + height * (mean_slope - left)
    b = height * left - rise * bend
    c = -mean_slope * rise
    # Rounding can make the discriminant slightly negative; at 0 itself the square root has an
    # infinite gradient.
    root = torch.sqrt((b * b - 4 * a * c).clamp(min=torch.finfo(rise.dtype).tiny))
    return _clamp(2 * c / (-b - root) - 0.5, 0.5) + 0.5
