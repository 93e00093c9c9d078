"""MisspecificationTest: is an observation like anything that was simulated?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

KNOWN, CALIBRATION, NEIGHBOUR = 4000, 1000, 5


class MisspecificationTest(nn.Module):
    """A conformal p-value for data y: how often is a simulation at least this far from the others?

    The distance is that to the fifth nearest of 4,000 simulations; 1,000 others calibrate it, and
    of fewer than 8,000 one half is for each. A posterior for data that no parameters produce is an
    extrapolation, whatever it looks like.
    """

    known: Tensor
    distances: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.known = torch.empty(0, 0)
        self.distances = torch.empty(0)

    def fit(self, y: Tensor) -> None:
        """Take simulated data (N, M) in the flow's unit, in random order."""
        split = min(KNOWN, max(len(y) // 2, 1))
        self.known = y[:split].clone()
        self.distances = self._distance(y[split : split + CALIBRATION]).sort().values

    def forward(self, y: Tensor) -> Tensor:
        """Return p-values (B,) of data (B, M): small is unlike anything simulated."""
        distance = self._distance(y.to(self.known))
        nearer = torch.searchsorted(self.distances, distance)
        return (1 + len(self.distances) - nearer).float() / (1 + len(self.distances))

    def _distance(self, y: Tensor) -> Tensor:
        neighbour = min(NEIGHBOUR, len(self.known))
        return torch.cdist(y, self.known).kthvalue(neighbour, dim=1).values

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return what was fitted; its size depends on the number of simulations."""
        return {"known": self.known, "distances": self.distances}

    def set_extra_state(self, state: Any) -> None:
        """Take what a checkpoint has."""
        self.known, self.distances = state["known"], state["distances"]
