"""Priors given as frozen distributions of scipy.stats or as bounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Uniform, constraints

from innflow.errors import InnflowError


class Frozen:
    """A frozen distribution of scipy.stats with the methods of a distribution of torch.

    Parameters with P columns make P independent ones; a multivariate distribution is one vector.

    >>> from scipy import stats
    >>> prior = Frozen(stats.norm([0.0, 5.0], [1.0, 2.0]))
    >>> prior.sample((3,)).shape, prior.log_prob(torch.tensor([[0.0, 5.0]])).round(decimals=3)
    (torch.Size([3, 2]), tensor([-2.5310], dtype=torch.float64))

    Args:
        frozen: For example `scipy.stats.norm(0, 1)`.
    """

    def __init__(self, frozen: Any) -> None:
        self._frozen = frozen
        self._univariate = callable(getattr(frozen, "support", None))
        self._columns = np.shape(frozen.support()[0]) if self._univariate else ()
        self._discrete = not hasattr(frozen, "logpdf")

    @property
    def support(self) -> constraints.Constraint:
        """The interval of each parameter."""
        if not self._univariate:
            return constraints.real
        low, high = (torch.as_tensor(np.asarray(end)) for end in self._frozen.support())
        make = constraints.integer_interval if self._discrete else constraints.interval
        return make(low, high)

    def sample(self, shape: Sequence[int]) -> Tensor:
        """Return draws (*shape, P), from NumPy's global random state."""
        size = (*shape, *self._columns)
        draws = self._frozen.rvs(size=size, random_state=np.random.randint(2**31))
        return torch.as_tensor(np.asarray(draws))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density in nats (B,) of points (B, P) or (B,)."""
        log_prob = self._frozen.logpmf if self._discrete else self._frozen.logpdf
        found = torch.as_tensor(np.asarray(log_prob(x.numpy())), dtype=torch.float64)
        return found.reshape(len(x), -1).sum(dim=1)


def uniform_box(bounds: Mapping[str, Sequence[float]], where: str) -> Independent:
    """Return independent uniform parameters from [low, high] by name.

    >>> uniform_box({"a": [0, 2]}, "prior").log_prob(torch.tensor([1.0])).round(decimals=3)
    tensor(-0.6930)

    Raises:
        InnflowError: One is not [low, high] with low < high, both finite.
    """
    for name, pair in bounds.items():
        try:
            low, high = map(float, pair)
        except (TypeError, ValueError):
            low, high = 0.0, 0.0
        if not -np.inf < low < high < np.inf:
            raise InnflowError(f"{where}: {name} is {pair}, expected [low, high] with low < high")
    if not bounds:
        raise InnflowError(f"{where}: has no parameter: give {{name: [low, high]}}")
    low_ends, high_ends = torch.tensor([[*map(float, pair)] for pair in bounds.values()]).T
    return Independent(Uniform(low_ends, high_ends), 1)
