"""Supports of priors: an interval of real or of integers for each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, TransformedDistribution, constraints

from innflow.errors import InnflowError
from innflow.problem.joint import Joint

Bounds = tuple[Tensor, Tensor, Tensor]
"""Low, high and discrete, of shapes that broadcast to the parameters; float64 and bool."""

_RANGES = (
    type(constraints.real),
    constraints.interval,
    constraints.half_open_interval,
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.integer_interval,
    type(constraints.nonnegative_integer),
)


@dataclass(frozen=True)
class Support:
    """An interval for each of P parameters.

    Attributes:
        low: (P,) float32, -inf where open.
        high: (P,) float32, inf where open.
        discrete: (P,) bool, true where only integers occur.
    """

    low: Tensor
    high: Tensor
    discrete: Tensor

    @classmethod
    def real(cls, dims: int) -> Support:
        """Return the support of P unbounded real parameters."""
        open_end = torch.full((dims,), math.inf)
        return cls(-open_end, open_end, torch.zeros(dims, dtype=torch.bool))

    def contains(self, x: Tensor) -> Tensor:
        """Return whether each value of x (B, P) lies inside, bool (B, P)."""
        inside = (x >= self.low.to(x.device)) & (x <= self.high.to(x.device))
        return inside & ((x == x.round()) | ~self.discrete.to(x.device))

    def check(self, x: Tensor, names: Sequence[str]) -> None:
        """Raise an error that names the first value of parameters x (B, P) that lies outside."""
        outside = (~self.contains(x)).nonzero()
        if len(outside):
            row, column = outside[0].tolist()
            what = "integers" if self.discrete[column] else "numbers"
            raise InnflowError(
                f"parameter {names[column]} has the value {x[row, column]:g}, outside its support, "
                f"{what} from {self.low[column]:g} to {self.high[column]:g}: "
                "give data.support=[[low, high], ...] with null for an open end"
            )


def check_varied(values: Tensor, names: Sequence[str], where: str) -> None:
    """Raise an error that names the first column of values (N, D) that is constant."""
    same = (values == values[:1]).all(dim=0).nonzero().flatten().tolist()
    if same:
        raise InnflowError(
            f"{names[same[0]]} is {values[0, same[0]]:g} in {where}: leave it out, or let it vary"
        )


def support_of(prior: Any, dims: int) -> Support:
    """Return the support of a prior, all real numbers for an object without `support`.

    Raises:
        InnflowError: Its support is not a product of `dims` intervals, such as a simplex.
    """
    bounds = _of(prior)
    for part in bounds:
        if part.shape not in ((), (1,), (dims,)):
            raise InnflowError(
                f"the support of data.prior {type(prior).__name__} has the shape "
                f"{tuple(part.shape)} for {dims} parameters: give data.support=[[low, high], ...]"
            )
    low, high, discrete = (part.broadcast_to(dims) for part in bounds)
    return Support(low.float(), high.float(), discrete.clone())


def given_support(pairs: Sequence[Sequence[float | None]], dims: int) -> Support:
    """Return the support from one [low, high] per parameter, with None for an open end."""
    ends: list[list[float]] = []
    for pair in pairs:
        if len(pair) != 2:
            raise InnflowError(f"data.support: {list(pair)} is not [low, high]")
        low = -math.inf if pair[0] is None else float(pair[0])
        high = math.inf if pair[1] is None else float(pair[1])
        if not low < high:
            raise InnflowError(f"data.support: {list(pair)} is empty: give [low, high], low < high")
        ends.append([low, high])
    if len(ends) != dims:
        raise InnflowError(
            f"data.support has {len(ends)} intervals for {dims} parameters: give one [low, high] "
            "each, null for an open end"
        )
    low_ends, high_ends = torch.tensor(ends).T
    return Support(low_ends, high_ends, torch.zeros(dims, dtype=torch.bool))


def _of(prior: Any) -> Bounds:
    if isinstance(prior, Joint):
        pairs = zip(prior.distributions, prior.lengths, strict=True)
        return _concatenated([(_of(one), length) for one, length in pairs])
    if isinstance(prior, Independent):
        return _of(prior.base_dist)
    if isinstance(prior, MixtureSameFamily):
        return _hull(prior)
    # Plain TransformedDistribution reports too wide a support (e.g. log-uniform), so compute it
    # here; its subclasses (LogNormal, Gumbel ...) define their own.
    if type(prior) is TransformedDistribution and (moved := _transformed(prior)) is not None:
        return moved
    try:
        constraint = prior.support
    except (AttributeError, NotImplementedError):
        constraint = constraints.real
    return _read(constraint, type(prior).__name__)


def _read(constraint: Any, owner: str) -> Bounds:
    """Return the bounds of a constraint on independent numbers."""
    if isinstance(constraint, constraints.independent):
        return _read(constraint.base_constraint, owner)
    if isinstance(constraint, constraints.cat):
        pairs = zip(constraint.cseq, constraint.lengths, strict=True)
        return _concatenated([(_read(one, owner), length) for one, length in pairs])
    if isinstance(constraint, constraints.stack):
        return _concatenated([(_read(one, owner), 1) for one in constraint.cseq])
    if isinstance(constraint, type(constraints.boolean)):
        return _bounds(0, 1, discrete=True)
    if isinstance(constraint, _RANGES):
        low = getattr(constraint, "lower_bound", -math.inf)
        high = getattr(constraint, "upper_bound", math.inf)
        return _bounds(low, high, constraint.is_discrete)
    raise InnflowError(
        f"data.prior: {owner} has the support {constraint}, which is not an interval for each "
        "parameter: write the prior in free parameters, or give data.support=[[low, high], ...]"
    )


def _bounds(low: Any, high: Any, discrete: bool) -> Bounds:
    ends = [torch.as_tensor(end, dtype=torch.float64).detach().cpu() for end in (low, high)]
    return ends[0], ends[1], torch.tensor(discrete)


def _concatenated(parts: Sequence[tuple[Bounds, int]]) -> Bounds:
    """Return the bounds of consecutive parameters from groups of bounds and their lengths."""
    low, high, discrete = (
        torch.cat([bounds[i].broadcast_to(length) for bounds, length in parts]) for i in range(3)
    )
    return low, high, discrete


def _hull(mixture: MixtureSameFamily) -> Bounds:
    """Return the smallest intervals that contain all components."""
    component = mixture.component_distribution
    shape = component.batch_shape + component.event_shape
    low, high, discrete = (part.broadcast_to(shape) for part in _of(component))
    axis = -1 - len(component.event_shape)
    return low.amin(axis), high.amax(axis), discrete.all(axis)


def _transformed(prior: TransformedDistribution) -> Bounds | None:
    """Return the base's bounds after monotone elementwise transforms, None for others."""
    low, high, discrete = _of(prior.base_dist)
    for transform in prior.transforms:
        single = transform.domain.event_dim == transform.codomain.event_dim == 0
        if not single or not transform.bijective:
            return None
        low, high = (transform(end).double() for end in (low, high))
        low, high = torch.minimum(low, high), torch.maximum(low, high)
    if low.isnan().any() or high.isnan().any():
        return None
    return low, high, discrete & (not prior.transforms)
