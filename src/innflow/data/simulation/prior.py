"""A user's prior by import path, or as bounds."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from innflow.data.simulation.frozen import Frozen, uniform_box
from innflow.data.simulation.imports import Lazy, describe, user_code
from innflow.data.simulation.seeding import seeded
from innflow.errors import InnflowError

Bounds = dict[str, list[float]]
"""[low, high] by the name of each parameter."""


class Prior(Lazy):
    """A prior over vectors of parameters, pickled as its import path or bounds.

    Args:
        path: Import path of an object with `sample((n,))`, such as a distribution of torch, of a
            frozen distribution of scipy.stats, of bounds, or of a function or class that makes one
            of these without arguments; or bounds {name: [low, high]}, for uniform parameters.

    Raises:
        InnflowError: It cannot be imported or made, or does not draw numbers (N, P).
    """

    key = "data.prior"

    def __init__(self, path: str | Bounds) -> None:
        self.given = path
        self.path = path if isinstance(path, str) else str(dict(path))
        self.dims = self.draw(2, [0]).shape[1]

    @property
    def modules(self) -> list[ModuleType]:
        """The modules that define the prior."""
        return self.imported.modules if isinstance(self.given, str) else []

    @cached_property
    def _source(self) -> Any:
        """The imported or made object, or bounds."""
        value = self.imported.value if isinstance(self.given, str) else self.given
        if isinstance(value, Mapping):
            return value
        if inspect.isclass(value) or not (hasattr(value, "sample") or hasattr(value, "rvs")):
            return self._made(value)
        return value

    @property
    def names(self) -> list[str] | None:
        """Names of the parameters where the prior has them."""
        return [*self._source] if isinstance(self._source, Mapping) else None

    @cached_property
    def value(self) -> Any:
        """The prior itself; a torch distribution gets the event shape (P,)."""
        value = self._source
        if isinstance(value, Mapping):
            return uniform_box(value, f"data.prior={self.path}")
        if not hasattr(value, "sample"):
            return Frozen(value)
        if not isinstance(value, Distribution):
            return value
        if not value.batch_shape and not value.event_shape:
            value = value.expand([1])
        return Independent(value, len(value.batch_shape)) if value.batch_shape else value

    def draw(self, n: int, seed: Sequence[int]) -> Tensor:
        """Return parameters (n, P), float32.

        Raises:
            InnflowError: The prior raises, or does not draw finite numbers (n, P).
        """
        where, value = f"data.prior={self.path}", self.value
        try:
            with user_code(), seeded(seed, self.modules):
                x = torch.as_tensor(value.sample((n,))).detach().cpu().float()
        except Exception as error:
            raise InnflowError(f"{where}: sample(({n},)) raises {describe(error)}") from error
        if x.shape[:1] != (n,) or x.ndim > 2 or not x.numel():
            raise InnflowError(
                f"{where}: sample(({n},)) returns the shape {tuple(x.shape)}, expected ({n}, P)"
            )
        if not x.isfinite().all():
            raise InnflowError(f"{where}: draws parameters that are NaN or infinite")
        return x.reshape(n, -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density in nats (B,), float64, of parameters (B, P), -inf outside.

        Raises:
            InnflowError: The prior has no density, or raises.
        """
        where, value = f"data.prior={self.path}", self.value
        if not hasattr(value, "log_prob"):
            raise InnflowError(
                f"{where}: has no log_prob: give a distribution of torch or scipy.stats, or bounds "
                "{name: [low, high]}"
            )
        result = torch.full((len(x),), -torch.inf, dtype=torch.float64)
        try:
            with user_code(), seeded([0], self.modules):
                like = torch.as_tensor(value.sample((2,)))
                given = x.detach().cpu().to(like.dtype).reshape(-1, *like.shape[1:])
                inside = torch.ones(len(x), dtype=torch.bool)
                support = value.support if isinstance(value, Distribution) else None
                if support is not None:  # many distributions raise for points outside
                    inside = support.check(given).reshape(len(x), -1).all(dim=1)
                found = torch.as_tensor(value.log_prob(given[inside]), dtype=torch.float64)
            result[inside] = found.detach().cpu().reshape(int(inside.sum()))
        except Exception as error:
            raise InnflowError(f"{where}: log_prob raises {describe(error)}") from error
        return result.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def _made(self, maker: Any) -> Any:
        where = f"data.prior={self.path}"
        advice = "give a torch distribution, or an object with sample((n,))"
        if not callable(maker):
            found = type(maker).__name__
            raise InnflowError(f"{where}: a {found} has no method sample: {advice}")
        kind = "class" if inspect.isclass(maker) else "function"
        try:
            with user_code(), seeded([0], self.modules):  # the same one in every process
                value = maker()
        except Exception as error:
            raise InnflowError(
                f"{where}: a {kind} that raises {describe(error)} where it is called without "
                f"arguments: {advice}"
            ) from error
        if not (isinstance(value, Mapping) or hasattr(value, "sample") or hasattr(value, "rvs")):
            found = type(value).__name__
            raise InnflowError(f"{where}: makes a {found}, which has no method sample: {advice}")
        return value
