"""What scores that need no reference have in common."""

from __future__ import annotations

import numpy as np

from innflow.score.base import Measured


class Fixed:
    """A score that learns nothing: it is a function of what was measured of an item."""

    def fit(self, inliers: Measured) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, np.ndarray]:
        """Return no arrays."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take nothing back."""
