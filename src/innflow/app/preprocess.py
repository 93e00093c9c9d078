"""Units: how data become the flow's coordinates, and back."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.ranks import rand

LEVELS = 256


class Units(Protocol):
    """Maps data to left parts; with a source of noise as in training, without it repeatably."""

    def preprocess(self, x: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return floating data in the flow's unit."""

    def restore(self, x: Tensor) -> Tensor:
        """Return floats in the data's unit."""

    def finish(self, x: Tensor) -> Tensor:
        """Return restored samples as data are stored."""

    def log_volume(self, dims: int) -> float:
        """Return the log of the factor by which `preprocess` shrinks volumes, in nats."""


class Vectors:
    """Vectors as they are."""

    def preprocess(self, x: Tensor, noise: torch.Generator | None) -> Tensor:
        """Give x."""
        return x

    def restore(self, x: Tensor) -> Tensor:
        """Give x."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Give x."""
        return x

    def log_volume(self, dims: int) -> float:
        """Give 0."""
        return 0.0


class Pixels:
    """Images of whole grey levels: a value v becomes (v + u) / levels - 1/2.

    In training u is uniform noise on [0, 1), which makes the likelihood a lower bound of the
    discrete one (Theis et al., arXiv:1511.01844); in evaluation it is 1/2, the centre of the bin,
    and numbers repeat to the last bit. The log volume makes `log_prob` the log probability of the
    discrete image in nats, so that bits per dim are -log_prob / (D ln 2).

    Args:
        levels: number of grey levels.
    """

    def __init__(self, levels: int = LEVELS) -> None:
        if not 2 <= levels <= LEVELS:
            raise InnflowError(f"app: levels={levels}: takes a whole number from 2 to {LEVELS}")
        self.levels = levels

    def preprocess(self, x: Tensor, noise: torch.Generator | None) -> Tensor:
        """Dequantize: with uniform noise, or at the bin centres where there is no noise source."""
        return (x + self._within_bin(x, noise)) / self.levels - 0.5

    def _within_bin(self, pixels: Tensor, noise: torch.Generator | None) -> Tensor | float:
        if noise is None:
            return 0.5
        if noise is torch.default_generator:
            return rand(
                pixels.shape, batch_axis=0, dtype=pixels.dtype, device=pixels.device
            )
        return rand(pixels.shape, batch_axis=0, generator=noise).to(pixels)

    def restore(self, x: Tensor) -> Tensor:
        """Return pixels from 0 to levels - 1, neither rounded nor clipped; bin centres whole."""
        return (x + 0.5) * self.levels - 0.5

    def finish(self, x: Tensor) -> Tensor:
        """Round and clip to uint8."""
        return x.round().clamp(0, self.levels - 1).to(torch.uint8)

    def log_volume(self, dims: int) -> float:
        """Give D ln levels: a pixel's bin has this volume in the flow's coordinates."""
        return dims * math.log(self.levels)
