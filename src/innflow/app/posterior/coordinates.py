"""Coordinates of inverse problems: unconstrained parameters and standardised data."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from innflow.errors import InnflowError
from innflow.system.progress import announce
from innflow.system.ranks import Noise, draw_within_bins

Bounded = Literal["probit", "logit"]
# Smallest distance from the ends of an interval, as a share of it: keeps probit and logit finite
# and is about the resolution of single precision.
EDGE = 1e-6
# Data columns with deviations above this, in standard deviations, are compressed by asinh.
HEAVY = 8.0
# Positive data columns of which the 99% quantile is above this many times the 1% quantile are
# replaced by their logarithm, if it is less skewed.
RATIO = 10.0
CHANNEL_VALUES = 10_000_000  # to which the units of a channel are fitted
QUANTILE_ROWS = 100_000  # torch.quantile takes no more than 16 million values


class Unconstrained(nn.Module):
    """Bijection of parameters x (B, P) to the real line, standardised to mean 0 and variance 1.

    Intervals are mapped by the probit (or logit), half-lines by the logarithm; integers are
    dequantized with uniform noise first. The inverse always lies in the support.

    Args:
        features: P.
        bounded: map of an interval; the probit maps a uniform prior to a standard normal.

    Example:
        >>> coordinates = Unconstrained(2)
        >>> u, log_volume = coordinates(torch.ones(3, 2), noise=None)
        >>> torch.equal(coordinates.inverse(u), torch.ones(3, 2))
        True
    """

    def __init__(self, features: int, bounded: Bounded = "probit") -> None:
        super().__init__()
        if bounded not in ("probit", "logit"):
            raise InnflowError(f"app: bounded={bounded!r}: must be probit or logit")
        self.bounded = bounded
        self.low = nn.Buffer(torch.full((features,), -torch.inf))
        self.high = nn.Buffer(torch.full((features,), torch.inf))
        self.discrete = nn.Buffer(torch.zeros(features, dtype=torch.bool))
        self.mean = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(features))

    def fit(self, x: Tensor, low: Tensor, high: Tensor, discrete: Tensor) -> None:
        """Set the support and fit mean and standard deviation.

        Args:
            x: training parameters, (N, P).
            low: lower ends of the support, (P,); -inf where unbounded.
            high: upper ends, likewise; inf where unbounded.
            discrete: which parameters are integers, (P,).

        Raises:
            InnflowError: if a parameter is constant.
        """
        self.low.copy_(low)
        self.high.copy_(high)
        self.discrete.copy_(discrete)
        generator = torch.Generator().manual_seed(0)
        raw, _ = self._unconstrain(self._dequantize(x, generator))
        self.mean.copy_(raw.mean(dim=0))
        self.scale.copy_(raw.std(dim=0))
        if not bool((self.scale > 0).all()):
            columns = (self.scale <= 0).nonzero().flatten().tolist()
            raise InnflowError(
                f"parameters {columns} (from 0) are the same in every simulation: vary them"
            )

    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return coordinates (B, P) and the log-determinant (B,) of parameters (B, P)."""
        raw, log_slope = self._unconstrain(self._dequantize(x, noise))
        return (raw - self.mean) / self.scale, (log_slope - self.scale.log()).sum(dim=1)

    def inverse(self, u: Tensor) -> Tensor:
        """Return parameters (..., P) in data units, in the support, of coordinates (..., P)."""
        raw = (u * self.scale + self.mean).double()
        low, high = self._bounds()
        share = ndtr(raw) if self.bounded == "probit" else raw.sigmoid()
        inside = torch.where(low.isfinite(), low, 0.0), torch.where(high.isfinite(), high, 0.0)
        interval = inside[0] + (inside[1] - inside[0]) * share
        above, below = inside[0] + raw.exp(), inside[1] - raw.exp()
        x = torch.where(low.isfinite(), above, torch.where(high.isfinite(), below, raw))
        x = torch.where(low.isfinite() & high.isfinite(), interval, x)
        x = torch.where(self.discrete, x.floor(), x).to(u.dtype)
        return torch.minimum(torch.maximum(x, self.low), self.high)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the ends of the support, where an integer k stands for the bin [k, k + 1)."""
        return self.low.double(), self.high.double() + self.discrete

    def _dequantize(self, x: Tensor, noise: Noise) -> Tensor:
        if noise is not None and not bool(self.discrete.any()):
            return x  # without drawing noise for every value
        return x + draw_within_bins(x, noise) * self.discrete.to(x)

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (B, P) on the real line and the log derivative of every value, (B, P)."""
        low, high = self._bounds()
        value = x.double()
        below, above = low.isfinite(), high.isfinite()
        gap = torch.where(below, value - low, torch.where(above, high - value, 1.0))
        half = gap.clamp(min=1e-30).log()
        width = torch.where(below & above, high - low, 1.0)
        share = torch.where(below & above, (value - low) / width, 0.5).clamp(EDGE, 1 - EDGE)
        if self.bounded == "probit":
            whole = ndtri(share)
            slope = 0.5 * whole.square() + 0.5 * math.log(2 * math.pi)
        else:
            whole = share.logit()
            slope = -share.log() - (-share).log1p()
        both = below & above
        raw = torch.where(both, whole, torch.where(below | above, half, value))
        log_slope = torch.where(both, slope - width.log(), -half * (below | above))
        return raw.to(x.dtype), log_slope.to(x.dtype)


class Standardized(nn.Module):
    """Standardisation of data y (B, M) to mean 0 and variance 1, in the units of each column.

    A positive and skewed column that spans more than a decade may be replaced by its logarithm. A
    column is heavy-tailed if a simulation deviates by more than 8 standard deviations: it is
    compressed by asinh, as such values would leave a network no resolution for the others.

    Args:
        features: M.

    Example:
        >>> y_units = Standardized(1)
        >>> y_units.fit(torch.tensor([[1.0], [2.0], [3.0]]))
        >>> y_units(torch.tensor([[3.0]]))
        tensor([[1.]])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.centre = nn.Buffer(torch.zeros(features))
        self.unit = nn.Buffer(torch.ones(features))
        self.heavy = nn.Buffer(torch.zeros(features, dtype=torch.bool))
        self.positive = nn.Buffer(torch.zeros(features, dtype=torch.bool))
        self.least = nn.Buffer(torch.ones(features))
        self.mean = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(features))

    def fit(self, y: Tensor, logarithms: bool = False) -> None:
        """Fit to training data; the scale of a constant column is 1.

        Args:
            y: (N, M).
            logarithms: whether columns may be replaced by their logarithm. That changes no
                posterior if y is its condition, but what additive noise of y means.
        """
        wide = y.double()
        least = wide.amin(dim=0)
        some = wide[:QUANTILE_ROWS]
        first, last = torch.quantile(some, torch.tensor([0.01, 0.99], dtype=wide.dtype), dim=0)
        less = _skewness(wide.clamp(min=1e-300).log()).abs() < _skewness(wide).abs()
        self.positive.copy_(logarithms & (least > 0) & (last > RATIO * first) & less)
        # A logarithm of an observation at or below 0 has to be finite.
        self.least.copy_(torch.where(self.positive, least / 1e3, 1.0))
        wide = self._log(wide)
        deviation = wide - wide.mean(dim=0)
        spread = deviation.std(dim=0)
        self.heavy.copy_(deviation.abs().amax(dim=0) > HEAVY * spread.clamp(min=1e-300))
        low, middle, high = torch.quantile(
            wide[:QUANTILE_ROWS], torch.tensor([0.25, 0.5, 0.75], dtype=wide.dtype), dim=0
        )
        self.centre.copy_(middle)
        unit = torch.where(high > low, high - low, spread)
        self.unit.copy_(torch.where(unit > 0, unit, 1.0))
        self.heavy.logical_and_(self.unit > 0)
        raw = self._raw(y)
        self.mean.copy_(raw.mean(dim=0))
        scale = raw.std(dim=0)
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def fit_channels(self, y: Tensor, channels: Tensor, logarithms: bool = False) -> None:
        """Fit to data (N, M) with NaN for missing values; a channel shares its standardisation.

        The number of columns that are replaced by their logarithm is printed.

        Args:
            y: (N, M).
            channels: (M,) index of the channel of each column.
            logarithms: as for `fit`.

        Raises:
            InnflowError: if all values of a channel are missing.
        """
        if len(channels.unique()) == len(channels) and not bool(y.isnan().any()):
            self.fit(y, logarithms)
        else:
            self._fit_each(y, channels, logarithms)
        count = int(self.positive.sum())
        if count:
            announce(
                f"{count} of {y.shape[1]} columns of y are positive and span more than a decade: "
                "the flow is given their logarithms"
            )

    def _fit_each(self, y: Tensor, channels: Tensor, logarithms: bool) -> None:
        for channel in channels.unique():
            columns = channels == channel
            values = y[:, columns].flatten()
            values = values[~values.isnan()][:CHANNEL_VALUES, None]
            if not len(values):
                first = int(columns.int().argmax())
                raise InnflowError(f"data y, column {first} (from 0): all its values are missing")
            one = Standardized(1)
            one.fit(values, logarithms)
            for name, buffer in self.named_buffers():
                buffer[columns] = one.get_buffer(name)

    def forward(self, y: Tensor) -> Tensor:
        """Return standardised data (..., M); missing values stay NaN."""
        return (self._raw(y) - self.mean) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        """Return data (..., M) of standardised data."""
        raw = values * self.scale + self.mean
        y = torch.where(self.heavy, raw.sinh() * self.unit + self.centre, raw)
        return torch.where(self.positive, y.exp(), y)

    def slope(self) -> Tensor:
        """Return the derivative (M,) of standardised data by data at the median."""
        by_log = torch.where(self.positive, (-self.centre).exp(), 1.0)
        return by_log * torch.where(self.heavy, 1 / self.unit, 1.0) / self.scale

    def _log(self, y: Tensor) -> Tensor:
        return torch.where(self.positive, torch.maximum(y, self.least).log(), y)

    def _raw(self, y: Tensor) -> Tensor:
        y = self._log(y)
        return torch.where(self.heavy, ((y - self.centre) / self.unit).asinh(), y)


def _skewness(values: Tensor) -> Tensor:
    """Return the third standardised moment (M,) of values (N, M); NaN of a constant column."""
    deviation = values - values.mean(dim=0)
    return deviation.pow(3).mean(dim=0) / deviation.square().mean(dim=0).pow(1.5)
