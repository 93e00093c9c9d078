"""The data module of an inverse problem: parameters x, data y, and what is known of both."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.base import PartsDataModule
from innflow.data.sets import Batch, PartsSet
from innflow.data.simulation.missing import Missing
from innflow.data.simulation.support import Support
from innflow.errors import InnflowError


class InverseData(PartsDataModule):
    """Pairs of parameters x (N, P) and data y (N, M).

    Attributes:
        support: Of the parameters.
        prior: Distribution of the parameters; None where unknown.
        forward: Data (B, M) of parameters (B, P) without declared noise; None where unknown.
        y_shape: Of one y, whose values are flat in all arrays.
        missing: Which values of y are left out at random, in the sets "val" and "test" once, and in
            training in every batch anew.
        noise: Factor S (M, M), float32, of the declared noise S eps; None where there is none.
        reference: Sampler of the exact posterior, (y (M,), n, seed) -> (n, P); None where unknown.
        reference_path: Import path of the reference.
    """

    support: Support
    y_shape: tuple[int, ...]
    missing: Missing
    prior: Any = None
    forward: Callable[[Tensor], Tensor] | None = None
    noise: Tensor | None = None
    reference: Callable[[Any, int, int], np.ndarray] | None = None
    reference_path: str | None = None
    _columns: dict[str, list[str]]

    @property
    def columns(self) -> dict[str, list[str]]:
        """Names of the parameters x and of the data y."""
        return self._columns

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every part, known before anything is read or simulated."""
        x, y = (self.columns[part] for part in "xy")
        noise = {} if self.noise is None else {"eps": (len(y),)}
        return {"x": (len(x),), "y": self.y_shape, **noise}

    def hide_missing(self, sets: dict[str, PartsSet]) -> dict[str, PartsSet]:
        """Return the sets with the missing values of "val" and "test" left out."""
        for stream, name in enumerate(("val", "test")):
            items, generator = sets[name], torch.Generator().manual_seed(self.seed + stream)
            parts = {**items.parts, "y": self.missing.hide(items.parts["y"], generator)}
            sets[name] = PartsSet(name, items.role, parts, items.names)
        return sets

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Leave out missing values of a training batch."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if not self.is_training:
            return batch
        with self.shared_draws():
            return {**batch, "y": self.missing.hide(batch["y"])}

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """Return data (B, M) with fresh noise for parameters (B, P), possibly NaN."""
        raise InnflowError(f"{type(self).__name__}: these data have no forward model to simulate")

    def log_joint(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """Return log p(x) + log p(y | x) at data y (M,) as a function of x.

        Parameters (B, P) give numbers (B,), float64 in nats, -inf outside the prior's support.

        Raises:
            InnflowError: The prior density or the likelihood is unknown.
        """
        raise InnflowError(f"{type(self).__name__}: these data have no likelihood")


def names_of(key: str, given: Sequence[str] | None, module: ModuleType | None, n: int) -> list[str]:
    """Return n different names: the given ones, else those of the module, else x0, x1, ...

    The `key` is "parameters" or "observables", in capitals the name in the module.
    """
    if given is not None:
        if len(given) != n or len(set(given)) < n:
            raise InnflowError(f"data.{key}={list(given)}: give {n} different names")
        return list(given)
    found = getattr(module, key.upper(), None)
    if isinstance(found, list | tuple) and len(found) == n and len(set(map(str, found))) == n:
        return [str(name) for name in found]
    return [f"{'x' if key == 'parameters' else 'y'}{i}" for i in range(n)]
