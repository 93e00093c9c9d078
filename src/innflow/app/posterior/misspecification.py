"""Test of model misspecification: conformal p-values of observed data under the simulator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

REFERENCE, CALIBRATION, NEIGHBOUR = 4000, 1000, 5
VALUES = 4_000_000
"""Largest number of values of the reference, which a checkpoint holds."""
Summary = Callable[[Tensor], Tensor]


def _identity(y: Tensor) -> Tensor:
    return y


class MisspecificationTest(nn.Module):
    """Conformal p-values of data y, small where no simulation is similar.

    The score is the distance to the fifth nearest reference simulation. The first min(4000, N/2)
    simulations are the reference; the next 1,000 calibrate. Where the p-value is small, the
    posterior is an extrapolation. What is missing in an observation (NaN) is left out of the
    simulations too.

    Example:
        >>> test = MisspecificationTest()
        >>> test.fit(torch.randn(5000, 3))
        >>> bool(test(torch.full((1, 3), 9.0)) < 0.01)
        True
    """

    reference: Tensor
    calibration: Tensor
    distances: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reference = self.calibration = torch.empty(0, 0)
        self.distances = torch.empty(0)

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called or a checkpoint was loaded."""
        return len(self.distances) > 0

    @property
    def smallest_p_value(self) -> float:
        """Smallest possible p-value, 1 / (1 + number of calibration simulations)."""
        return 1 / (1 + len(self.distances))

    def fit(self, y: Tensor, summarize: Summary = _identity) -> None:
        """Fit on standardised simulated data (N, M) in random order.

        `summarize` maps data with NaN to statistics (N, K), whose distances are compared.
        """
        split = min(REFERENCE, max(len(y) // 2, 1), max(VALUES // y.shape[1], 1))
        self.reference = y[:split].clone()
        self.calibration = y[split : split + min(CALIBRATION, split)].clone()
        self.distances = self._calibrate(summarize(self.reference), summarize(self.calibration))

    def forward(self, y: Tensor, summarize: Summary = _identity) -> Tensor:
        """Return the p-values (B,) of standardised data (B, M)."""
        y = y.to(self.reference)
        masks, kinds = y.isnan().unique(dim=0, return_inverse=True)
        p_values = y.new_empty(len(y))
        for kind, mask in enumerate(masks):
            reference = summarize(self.reference.masked_fill(mask, torch.nan))
            distances = self.distances
            if bool(mask.any()):
                calibration = self.calibration.masked_fill(mask, torch.nan)
                distances = self._calibrate(reference, summarize(calibration))
            rows = kinds == kind
            nearer = torch.searchsorted(distances, _distance(summarize(y[rows]), reference))
            p_values[rows] = (1 + len(distances) - nearer).float() / (1 + len(distances))
        return p_values

    def _calibrate(self, reference: Tensor, calibration: Tensor) -> Tensor:
        return _distance(calibration, reference).sort().values

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the fitted tensors, whose sizes depend on the number of simulations."""
        return {name: getattr(self, name) for name in ("reference", "calibration", "distances")}

    def set_extra_state(self, state: Any) -> None:
        """Restore the fitted tensors from a checkpoint."""
        for name in ("reference", "calibration", "distances"):
            setattr(self, name, state[name])


def _distance(y: Tensor, reference: Tensor) -> Tensor:
    """Return the distance (B,) of y (B, K) to the fifth nearest reference (R, K)."""
    neighbour = min(NEIGHBOUR, len(reference))
    return torch.cdist(y, reference).kthvalue(neighbour, dim=1).values
