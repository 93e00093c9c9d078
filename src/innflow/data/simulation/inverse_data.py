"""The data module of an inverse problem: parameters x, data y, and what is known of their law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from innflow.data.base import PartsDataModule
from innflow.data.simulation.support import Support


class InverseData(PartsDataModule):
    """Pairs of parameters x (N, P) and data y (N, M).

    Attributes:
        support: of the prior.
        forward: data (B, M) of parameters (B, P) without declared noise; None where unknown.
    """

    support: Support
    forward: Callable[[Tensor], Tensor] | None = None

    @property
    def noise(self) -> Tensor | None:
        """The factor S (M, M) of the declared noise y - f(x) = S eps, None where there is none."""
        return None

    @property
    def deterministic(self) -> bool:
        """Whether y is a function of x alone."""
        return False

    @property
    def reference(self) -> Callable[[Any, int, int], np.ndarray] | None:
        """Sampler of the exact posterior, (y (M,), n, seed) -> (n, P), or None where unknown."""
        return None

    @property
    def reference_path(self) -> str | None:
        """Import path of the reference."""
        return None

    def simulate(self, x: Tensor, seed: int) -> Tensor:
        """Return data (B, M) with fresh noise for parameters (B, P), perhaps NaN."""
        raise NotImplementedError(f"{type(self).__name__} has no forward model")
