"""Latent: one density for each right part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.system.ranks import randn


class Density(Protocol):
    """The density of one right part, (B, N).

    `target` is what is known of the part, for densities that ask for it: the observed y (B, N)
    or the labels (B,).
    """

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p (B,) in nats of values (B, N)."""

    def sample(
        self,
        like: Tensor,
        temperature: float,
        generator: torch.Generator | None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values of the shape, type and device of `like`."""


def normal_log_prob(deviation: Tensor, log_sigma: float | Tensor = 0.0) -> Tensor:
    """Return the log density (B,) of independent normals at deviations (B, ...) in sigmas."""
    squares = deviation.square().flatten(1).sum(dim=1)
    constant = deviation.shape[1:].numel() * (math.log(2 * math.pi) + 2 * log_sigma)
    return -0.5 * (squares + constant)


def draw_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal values on the CPU, the same for every device, and send them there."""
    noise = randn(like.shape, batch_axis=0, generator=generator, dtype=like.dtype)
    return noise.to(like.device)


class Normal(nn.Module):
    """A normal density around 0 with the same width for every feature.

    Args:
        sigma: the width: 1 for a latent z, small for padding, which must come back as the noise
            that went in.
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma = _positive("sigma", sigma)

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p (B,) in nats of values (B, N)."""
        return normal_log_prob(value / self.sigma, math.log(self.sigma))

    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values like `like`, with the width scaled by the temperature."""
        return draw_normal(like, generator) * (self.sigma * temperature)

    def extra_repr(self) -> str:
        """Show the width."""
        return f"sigma={self.sigma}"


class StandardNormal(Normal):
    """The density of z: a normal of width 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class Observed(nn.Module):
    """The density of y: a normal around what was observed.

    Without noise in the data, p(x | y) lies on a surface and its likelihood has no upper bound; the
    width gives it a thickness. A wide start shapes the flow before it has to be sharp. Where y is
    context, the width is that of noise which training adds to it.

    Args:
        sigma: the width after annealing, in standard deviations of y; null leaves it to the
            application, by whether the data have noise of their own.
        start: the width at the beginning of training; `sigma` where null.
    """

    def __init__(self, sigma: float | None = None, start: float | None = None) -> None:
        super().__init__()
        self.sigma = None if sigma is None else _positive("sigma", sigma)
        self.start = None if start is None else _positive("start", start)
        self._annealed = 1.0

    def advance(self, progress: float) -> None:
        """Take the width that training has at a progress in [0, 1]; it is final at one half."""
        self._annealed = min(1.0, 2 * progress)

    @property
    def width(self) -> float:
        """Width now: on its way from `start` to `sigma` in training, `sigma` otherwise."""
        if self.sigma is None:
            raise InnflowError("latent: the width of y is not known: give latent.y.sigma")
        if self.start is None or self.sigma == 0:
            return self.sigma
        share = self._annealed if self.training else 1.0
        return self.start ** (1 - share) * self.sigma**share

    def get_extra_state(self) -> dict[str, float | None]:
        """Return the width that the application has settled on."""
        return {"sigma": self.sigma}

    def set_extra_state(self, state: Mapping[str, float | None]) -> None:
        """Take the width of a checkpoint."""
        self.sigma = state["sigma"]

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p (B,) in nats of values (B, N) around their targets (B, N)."""
        target = _known("Observed", target)
        return normal_log_prob((value - target) / self.width, math.log(self.width))

    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values around the targets (B, N)."""
        noise = draw_normal(like, generator) * (self.width * temperature)
        return _known("Observed", target).to(like) + noise

    def extra_repr(self) -> str:
        """Show the width."""
        return f"sigma={self.sigma}"


class Latent(nn.Module):
    """The density of the whole right side: independent parts, one density each.

    Args:
        densities: part name -> density; `pad` is a narrow normal if it is not named.
        pad_sigma: width of the padding on either side.
    """

    def __init__(self, densities: Mapping[str, nn.Module], pad_sigma: float = 0.01) -> None:
        super().__init__()
        self.densities = nn.ModuleDict(densities)
        if "pad" not in self.densities:
            self.densities["pad"] = Normal(pad_sigma)

    def check(self, parts: Mapping[str, tuple[int, ...]]) -> None:
        """Raise if a right part has no density, or one of another size."""
        missing = [name for name in parts if name not in self.densities]
        if missing:
            raise InnflowError(
                f"latent: right part {', '.join(missing)} has no density; "
                f"there is one for {', '.join(self.densities)}"
            )
        for name, shape in parts.items():
            density: Any = self.densities[name]
            if hasattr(density, "build"):
                density.build(math.prod(shape))

    def advance(self, progress: float) -> None:
        """Tell every density that anneals how far training has come, in [0, 1]."""
        for density in self.densities.values():
            annealed: Any = density
            if hasattr(annealed, "advance"):
                annealed.advance(progress)

    def __contains__(self, name: str) -> bool:
        return name in self.densities

    def __getitem__(self, name: str) -> Density:
        """Return the density of one part."""
        return cast(Density, self.densities[name])

    def log_prob(
        self, parts: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the sum over the parts of log p, (B,) in nats."""
        known = targets or {}
        terms = [self[name].log_prob(value, known.get(name)) for name, value in parts.items()]
        return torch.stack(terms).sum(dim=0)

    def sample(
        self,
        like: Mapping[str, Tensor],
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        targets: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Draw every part with the shape, type and device of its entry in `like`."""
        known = targets or {}
        return {
            name: self[name].sample(value, temperature, generator, known.get(name))
            for name, value in like.items()
        }


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise InnflowError(f"latent: {name}={value} must be above 0")
    return float(value)


def _known(density: str, target: Tensor | None) -> Tensor:
    if target is None:
        raise InnflowError(f"latent: {density} is a density around a target, and none is given")
    return target
