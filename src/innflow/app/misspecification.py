"""Test of model misspecification: conformal p-values of observed data under the simulator."""

from typing import Any

import torch
from torch import Tensor, nn

REFERENCE, CALIBRATION, NEIGHBOUR = 4000, 1000, 5


class MisspecificationTest(nn.Module):
    """Conformal p-values of data y, small where no simulation is similar.

    The score is the distance to the fifth nearest reference simulation. The first min(4000, N/2)
    simulations are the reference; the next 1,000 calibrate. Where the p-value is small, the
    posterior is an extrapolation.

    Example:
        >>> test = MisspecificationTest()
        >>> test.fit(torch.randn(5000, 3))
        >>> bool(test(torch.full((1, 3), 9.0)) < 0.01)
        True
    """

    reference: Tensor
    distances: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reference = torch.empty(0, 0)
        self.distances = torch.empty(0)

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called or a checkpoint was loaded."""
        return len(self.distances) > 0

    @property
    def smallest_p_value(self) -> float:
        """Smallest possible p-value, 1 / (1 + number of calibration simulations)."""
        return 1 / (1 + len(self.distances))

    def fit(self, y: Tensor) -> None:
        """Fit on standardised simulated data (N, M) in random order."""
        split = min(REFERENCE, max(len(y) // 2, 1))
        self.reference = y[:split].clone()
        self.distances = self._distance(y[split : split + CALIBRATION]).sort().values

    def forward(self, y: Tensor) -> Tensor:
        """Return the p-values (B,) of standardised data (B, M)."""
        distance = self._distance(y.to(self.reference))
        nearer = torch.searchsorted(self.distances, distance)
        return (1 + len(self.distances) - nearer).float() / (1 + len(self.distances))

    def _distance(self, y: Tensor) -> Tensor:
        neighbour = min(NEIGHBOUR, len(self.reference))
        return torch.cdist(y, self.reference).kthvalue(neighbour, dim=1).values

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the fitted tensors, whose sizes depend on the number of simulations."""
        return {"reference": self.reference, "distances": self.distances}

    def set_extra_state(self, state: Any) -> None:
        """Restore the fitted tensors from a checkpoint."""
        self.reference, self.distances = state["reference"], state["distances"]
