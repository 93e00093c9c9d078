"""Monotone functions of one variable: what a coupling applies to each changed feature.

A univariate is data, not a layer: it names how many parameters it takes per feature, and maps
`(x, parameters)` to `(y, log|dy/dx|)` element by element, both ways, without branching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from innflow.errors import InnflowError
from innflow.flow.fused.gradient import ScaleShift
from innflow.flow.fused.planes import Planes
from innflow.flow.fused.spline_written import RationalQuadratic
from innflow.flow.spline import MAX_BINS, rational_quadratic_spline

MOST_UNROLLED = 16
"""Bins up to which a compiler is given each by itself: 8 already cost it 20 seconds a coupling."""


class Univariate(Protocol):
    """A monotone bijection of the line, given its parameters; the identity where they are 0."""

    @property
    def parameters(self) -> int:
        """Number of parameters per feature."""

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F, ...) with parameters (B, F * parameters, ...) to y and log|dy/dx|."""

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map y back to x and log|dx/dy|."""

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return what it does at x as log|dy/dx| and a shift, for people to look at."""


@dataclass(frozen=True)
class Affine:
    """y = x * exp(s) + t with |s| < bound, as in RealNVP (arXiv:1605.08803).

    The log-scale is `bound * tanh(raw / bound)`: slope 1 and value 0 at raw = 0, so a network that
    starts at 0 gives the identity, and the log-determinant is the log-scale itself.
    """

    bound: float = 2.0

    def __post_init__(self) -> None:
        """Check the bound."""
        if self.bound <= 0:
            raise InnflowError(f"affine coupling: bound={self.bound} must be above 0")

    @property
    def parameters(self) -> int:
        """Log-scale and shift."""
        return 2

    def _scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.chunk(2, dim=1)
        return self.bound * torch.tanh(raw / self.bound), shift

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        raw, shift = parameters.chunk(2, dim=1)
        outputs, log_scale = ScaleShift.run(x, raw, shift, self.bound)
        return outputs, log_scale

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Take the shift off, then the scale."""
        log_scale, shift = self._scale(parameters)
        return (y - shift) * torch.exp(-log_scale), -log_scale

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return s and t, wherever x is."""
        return self._scale(parameters)


@dataclass(frozen=True)
class Spline:
    """Monotone rational-quadratic spline with linear tails (Durkan et al., arXiv:1906.04032).

    The spline acts on [-tail, tail] and is the identity outside. Inputs should be of order one:
    an ActNorm before the coupling sees to it.
    """

    bins: int = 8
    tail: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.bins < MAX_BINS or self.tail <= 0:
            raise InnflowError(
                f"spline coupling: bins={self.bins}, tail={self.tail}: "
                f"takes 2 <= bins < {MAX_BINS}, tail > 0"
            )

    @property
    def parameters(self) -> int:
        """Widths, heights and the slopes at the inner knots."""
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the spline."""
        unrolled = torch.compiler.is_compiling() and self.bins <= MOST_UNROLLED
        outputs, log_slope = RationalQuadratic.apply(x, parameters, self.bins, self.tail, unrolled)
        return outputs, log_slope

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the inverse spline: a quadratic equation in each bin."""
        planes = Planes(y, parameters, self.parameters)
        sizes = (self.bins, self.bins, self.bins - 1)
        widths, heights, slopes = planes.tables(parameters).split(sizes, dim=1)
        x, log_slope = rational_quadratic_spline(
            planes.values(y), widths, heights, slopes, self.tail, inverse=True, dim=1
        )
        return planes.whole(x), planes.whole(log_slope)

    def log_scale_shift(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log slope at x and y - x."""
        outputs, log_slope = self.forward(x, parameters)
        return log_slope, outputs - x
