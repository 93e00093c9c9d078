"""A user's prior by import path."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from innflow.data.simulation.imports import Lazy, describe, user_code
from innflow.data.simulation.seeding import seeded
from innflow.errors import InnflowError


class Prior(Lazy):
    """A prior over vectors of parameters, pickled as its import path.

    Args:
        path: Import path of an object with `sample((n,))`, or of a function or class that makes
            one without arguments.

    Raises:
        InnflowError: It cannot be imported or made, or does not draw numbers (N, P).
    """

    key = "data.prior"

    def __init__(self, path: str) -> None:
        self.path = path
        self.dims = self.draw(2, [0]).shape[1]

    @cached_property
    def value(self) -> Any:
        """The prior itself; a torch distribution gets the event shape (P,)."""
        value = self.imported.value
        if inspect.isclass(value) or not hasattr(value, "sample"):
            value = self._made(value)
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
            with user_code(), seeded(seed, self.imported.modules):
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

    def _made(self, maker: Any) -> Any:
        where = f"data.prior={self.path}"
        advice = "give a torch distribution, or an object with sample((n,))"
        if not callable(maker):
            found = type(maker).__name__
            raise InnflowError(f"{where}: a {found} has no method sample: {advice}")
        kind = "class" if inspect.isclass(maker) else "function"
        try:
            with user_code(), seeded([0], self.imported.modules):  # the same one in every process
                value = maker()
        except Exception as error:
            raise InnflowError(
                f"{where}: a {kind} that raises {describe(error)} where it is called without "
                f"arguments: {advice}"
            ) from error
        if not hasattr(value, "sample"):
            found = type(value).__name__
            raise InnflowError(f"{where}: makes a {found}, which has no method sample: {advice}")
        return value
