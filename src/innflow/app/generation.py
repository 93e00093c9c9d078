"""Generation: 8-bit images to a latent and back. Application 2."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from innflow.app.density import Density
from innflow.objective import Step

LEVELS = 256


class Generation(Density):
    """Density, samples and latents of 8-bit images; [x] <-> [z].

    A pixel value v becomes (v + u) / 256 - 1/2. In training u is uniform noise on [0, 1), which
    makes the likelihood a lower bound of the discrete one (Theis et al., arXiv:1511.01844); in
    evaluation it is 1/2, the centre of the bin, and numbers repeat to the last bit. `log_prob`
    is in nats per image of 8-bit values, so that bits per dim are -log_prob / (D ln 2).
    """

    @property
    def log_volume(self) -> float:
        """D ln 256: a pixel's bin has this volume in the flow's coordinates."""
        return self.dims * math.log(LEVELS)

    def observe(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Dequantize: with uniform noise, or at the bin centres where there is no noise source."""
        pixels = batch["x"].to(self.parameter_dtype)
        return {"x": (pixels + self._within_bin(pixels, noise)) / LEVELS - 0.5}

    def _within_bin(self, pixels: Tensor, noise: torch.Generator | None) -> Tensor | float:
        if noise is None:
            return 0.5
        if noise is torch.default_generator:
            return torch.rand_like(pixels)
        return torch.rand(pixels.shape, generator=noise).to(pixels)

    def restore(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return pixels on the scale 0 to 255, neither rounded nor clipped; bin centres whole."""
        return (parts["x"] + 0.5) * LEVELS - 0.5

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw n images, uint8 (n, C, H, W)."""
        return super().sample(n, temperature, seed).round().clamp(0, LEVELS - 1).to(torch.uint8)

    def _likelihood(self, stage: str, step: Step) -> dict[str, Tensor]:
        return {f"{stage}/bpd": -step.log_prob.mean() / (self.dims * math.log(2))}
