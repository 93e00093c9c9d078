"""The data module of an inverse problem: parameters x, data y, and what is known of both."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from innflow.data.base import PartsDataModule
from innflow.data.simulation.support import Support
from innflow.errors import InnflowError


class InverseData(PartsDataModule):
    """Pairs of parameters x (N, P) and data y (N, M).

    Attributes:
        support: Of the parameters.
        prior: Distribution of the parameters; None where unknown.
        forward: Data (B, M) of parameters (B, P) without declared noise; None where unknown.
        noise: Factor S (M, M), float32, of the declared noise S eps; None where there is none.
        reference: Sampler of the exact posterior, (y (M,), n, seed) -> (n, P); None where unknown.
        reference_path: Import path of the reference.
    """

    support: Support
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
        return {"x": (len(x),), "y": (len(y),), **noise}

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
