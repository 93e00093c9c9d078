"""The product of independent distributions."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from innflow.errors import InnflowError


class Joint(Distribution):
    """Independent distributions, continuous or discrete, of consecutive columns of a vector.

    >>> from torch.distributions import Normal, Uniform
    >>> joint = Joint([Normal(0.0, 1.0), Uniform(2.0, 3.0)])
    >>> joint.sample((5,)).shape, joint.log_prob(torch.tensor([0.0, 2.5]))
    (torch.Size([5, 2]), tensor(-0.9189))

    Args:
        distributions: Without a batch shape, of event shape () or (k,) each.

    Raises:
        InnflowError: There is none, or one is a batch or a matrix.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, distributions: Sequence[Distribution]) -> None:
        self.distributions = tuple(distributions)
        if not self.distributions:
            raise InnflowError("Joint: the list of distributions is empty; give at least one")
        for column, one in enumerate(self.distributions):
            if one.batch_shape or len(one.event_shape) > 1:
                raise InnflowError(
                    f"Joint: distributions[{column}] has batch shape {tuple(one.batch_shape)} and"
                    f" event shape {tuple(one.event_shape)}; give a scalar, or a vector made with"
                    " torch.distributions.Independent(..., 1)"
                )
        self.lengths = [one.event_shape.numel() for one in self.distributions]
        super().__init__(event_shape=torch.Size([sum(self.lengths)]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The constraint on each column."""
        # `cat` concatenates constraints of single entries.
        parts = [_of_entries(one.support) for one in self.distributions]
        return constraints.cat(parts, dim=-1, lengths=self.lengths)

    @property
    def mean(self) -> Tensor:
        """The mean of each column (P,)."""
        return torch.cat([one.mean.reshape(-1) for one in self.distributions])

    @property
    def variance(self) -> Tensor:
        """The variance of each column (P,)."""
        return torch.cat([one.variance.reshape(-1) for one in self.distributions])

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Return draws (*sample_shape, P)."""
        shape = torch.Size(sample_shape)
        pairs = zip(self.distributions, self.lengths, strict=True)
        return torch.cat([one.sample(shape).reshape(*shape, k) for one, k in pairs], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats (...) of points (..., P)."""
        total = value.new_zeros(value.shape[:-1])
        columns = value.split(self.lengths, dim=-1)
        for one, part in zip(self.distributions, columns, strict=True):
            total = total + one.log_prob(part if one.event_shape else part.squeeze(-1))
        return total


def _of_entries(constraint: constraints.Constraint | None) -> constraints.Constraint | None:
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint
