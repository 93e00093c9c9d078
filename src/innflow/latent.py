"""Latent: one density for each right part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError


class Density(Protocol):
    """The density of one right part, (B, N)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p (B,) in nats of values (B, N)."""

    def sample(self, like: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Draw values of the shape, type and device of `like`."""


class Normal(nn.Module):
    """A normal density around 0 with the same width for every feature.

    Args:
        sigma: the width: 1 for a latent z, small for padding, which must come back as the noise
            that went in.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        if sigma <= 0:
            raise InnflowError(f"latent: sigma={sigma} must be above 0")
        self.sigma = sigma

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p (B,) in nats of values (B, N)."""
        squares = (value / self.sigma).square().flatten(1).sum(dim=1)
        constant = math.log(2 * math.pi) + 2 * math.log(self.sigma)
        return -0.5 * (squares + constant * value.shape[1:].numel())

    def sample(
        self, like: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw values like `like`, with the width scaled by the temperature."""
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype)
        return noise.to(like.device) * (self.sigma * temperature)

    def extra_repr(self) -> str:
        """Show the width."""
        return f"sigma={self.sigma}"


class StandardNormal(Normal):
    """The density of z: a normal of width 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class Latent(nn.Module):
    """The density of the whole right side: independent parts, one density each.

    Args:
        densities: part name -> density; `pad` is a narrow normal if it is not named.
    """

    def __init__(self, densities: Mapping[str, nn.Module], pad_sigma: float = 0.01) -> None:
        super().__init__()
        self.densities = nn.ModuleDict(densities)
        if "pad" not in self.densities:
            self.densities["pad"] = Normal(pad_sigma)

    def check(self, names: Mapping[str, object]) -> None:
        """Raise if a right part has no density."""
        missing = [name for name in names if name not in self.densities]
        if missing:
            raise InnflowError(
                f"latent: right part {', '.join(missing)} has no density; "
                f"there is one for {', '.join(self.densities)}"
            )

    def __getitem__(self, name: str) -> Density:
        """Return the density of one part."""
        return cast(Density, self.densities[name])

    def log_prob(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the sum over the parts of log p, (B,) in nats."""
        terms = [self[name].log_prob(value) for name, value in parts.items()]
        return torch.stack(terms).sum(dim=0)

    def sample(
        self,
        like: Mapping[str, Tensor],
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Draw every part with the shape, type and device of its entry in `like`."""
        return {
            name: self[name].sample(value, temperature, generator) for name, value in like.items()
        }
