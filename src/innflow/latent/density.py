"""Densities of the right parts of a partition: normal, normal around an observation, joint."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError, positive
from innflow.system.ranks import randn


class Density(nn.Module):
    """Base class of the density of one right part, values (B, N).

    A subclass implements `log_prob` and `sample`; `build` and `advance` do nothing by default.

    Example:
        >>> class Laplace(Density):
        ...     def log_prob(self, value, target=None):
        ...         return -(value.abs() + math.log(2)).sum(dim=1)
        >>> Latent({"z": Laplace()}).log_prob({"z": torch.zeros(3, 2)})
        tensor([-1.3863, -1.3863, -1.3863])
    """

    @abstractmethod
    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p (B,) in nats of values (B, N).

        Args:
            value: (B, N).
            target: the observed y (B, N) or the labels (B,), where the density depends on them.
        """

    @abstractmethod
    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values of the shape, type and device of `like`, widths times the temperature."""

    def from_normal(
        self, noise: Tensor, temperature: float = 1.0, target: Tensor | None = None
    ) -> Tensor:
        """Map standard normal numbers (B, N) to values of this density.

        Raises:
            InnflowError: if the density has no such map; only an exported program needs it.
        """
        raise InnflowError(f"latent: {type(self).__name__} has no from_normal, which export needs")

    def build(self, features: int) -> None:
        """Create the parameters that depend on the size N of the part; called once."""

    def advance(self, progress: float) -> None:
        """Anneal to a training progress in [0, 1]."""


def draw_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal values on the CPU, the same for every device, and send them there."""
    noise = randn(like.shape, batch_axis=0, generator=generator, dtype=like.dtype)
    return noise.to(like.device)


class Normal(Density):
    """Normal density with mean 0 and the same standard deviation `width` for every feature.

    Args:
        sigma: standard deviation; small for padding, whose values the flow has to reproduce.

    Example:
        >>> Normal(sigma=0.5).log_prob(torch.zeros(1, 1))
        tensor([-0.2258])
    """

    def __init__(self, sigma: float = 1.0) -> None:
        super().__init__()
        self.sigma: float | None = positive("latent: sigma", sigma)

    @property
    def width(self) -> float:
        """Standard deviation."""
        return cast(float, self.sigma)

    def widths(self, like: Tensor) -> Tensor:
        """Return the standard deviations of values of the type and device of `like`."""
        return like.new_full((), self.width)

    def mean(self, like: Tensor, target: Tensor | None) -> Tensor | float:
        """Return the mean of values of the shape, type and device of `like`."""
        return 0.0

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p (B,) in nats of values (B, N)."""
        widths = self.widths(value)
        deviation = (value - self.mean(value, target)) / widths
        constant = value.shape[1:].numel() * (math.log(2 * math.pi) + 2 * widths.log().mean())
        return -0.5 * (deviation.square().flatten(1).sum(dim=1) + constant)

    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values of the shape of `like` with standard deviation width * temperature."""
        return self.from_normal(draw_normal(like, generator), temperature, target)

    def from_normal(
        self, noise: Tensor, temperature: float = 1.0, target: Tensor | None = None
    ) -> Tensor:
        """Map standard normal numbers to values with standard deviation width * temperature."""
        return self.mean(noise, target) + noise * (self.widths(noise) * temperature)

    def extra_repr(self) -> str:
        """Show the standard deviation."""
        return f"sigma={self.sigma}"


class StandardNormal(Normal):
    """Standard normal density, that of the latent part z.

    Example:
        >>> StandardNormal().sample(torch.empty(4, 2)).shape
        torch.Size([4, 2])
    """

    def __init__(self) -> None:
        super().__init__(1.0)


class Observed(Normal):
    """Normal density of y around its observed value.

    Where the data have no noise, p(x | y) is concentrated on a surface and its likelihood has no
    upper bound; the standard deviation gives the surface a thickness. A large `start` makes early
    training smooth. Where y is context, this is the standard deviation of noise added in training.
    Where the data have noise that is not on the left side, the density has its width (`match`).
    Padding may carry a part of the noise; the density then has the rest of its variance in training
    (`share`), and outside of training the width of y_hat - y on validation data (`fitted`).

    Args:
        sigma: standard deviation of y after annealing, in those of the data; None for the
            application's default, which depends on whether the data have noise.
        start: standard deviation at the start of training; `sigma` where None.

    Example:
        >>> density = Observed(sigma=0.1)
        >>> density.log_prob(torch.ones(1, 1), target=torch.ones(1, 1))
        tensor([1.3836])
    """

    relative: Tensor

    def __init__(self, sigma: float | None = None, start: float | None = None) -> None:
        super().__init__()
        self.sigma = None if sigma is None else positive("latent: sigma", sigma)
        self.start = None if start is None else positive("latent: start", start)
        self.matched = False
        self.share = 1.0  # of the variance of y, set by the application
        self.fitted: list[float] = []  # standard deviations (N,) of y_hat - y, from validation
        self.register_buffer("relative", torch.ones(1))
        self._annealed = 1.0

    def build(self, features: int) -> None:
        """Create the widths of the features relative to `width`, 1 until `match` is called."""
        self.relative = torch.ones(features)

    def match(self, noise: Tensor) -> None:
        """Take the standard deviations (N,) of noise in the data instead of adding noise."""
        self.sigma = float(noise.square().mean().sqrt())
        self.relative.copy_(noise / self.sigma)
        self.matched = True

    @property
    def noise(self) -> Tensor:
        """Standard deviations (N,) of the noise of y, of which the density may have a part."""
        return (cast(float, self.sigma) if self.matched else self.width) * self.relative

    def widths(self, like: Tensor) -> Tensor:
        """Return the standard deviation of each feature, (N,)."""
        if self.fitted and not self.training:
            return self.relative.new_tensor(self.fitted)
        return self.width * self.relative * math.sqrt(self.share)

    def advance(self, progress: float) -> None:
        """Anneal to a training progress in [0, 1]; `sigma` is reached at one half."""
        self._annealed = min(1.0, 2 * progress)

    @property
    def width(self) -> float:
        """Current standard deviation: between `start` and `sigma` in training, `sigma` otherwise.

        Raises:
            InnflowError: if `sigma` is not set.
        """
        if self.sigma is None:
            raise InnflowError("latent: the standard deviation of y is not set: latent.y.sigma")
        if self.start is None or self.sigma == 0:
            return self.sigma
        share = self._annealed if self.training else 1.0
        return self.start ** (1 - share) * self.sigma**share

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the application may have set."""
        return {"sigma": self.sigma, "matched": self.matched, "fitted": self.fitted}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore it from a checkpoint."""
        self.sigma, self.matched, self.fitted = state["sigma"], state["matched"], state["fitted"]

    def mean(self, like: Tensor, target: Tensor | None) -> Tensor:
        """Return the observed values, the target."""
        if target is None:
            raise InnflowError("latent: Observed needs a target: give the observed values of y")
        return target.to(like)


class Latent(nn.Module):
    """Density of the right side: the product of independent densities, one for each part.

    Args:
        densities: part name -> density.
        pad_sigma: standard deviation of the part `pad`, on either side, if it has no density.

    Example:
        >>> latent = Latent({"z": StandardNormal(), "y": Normal(0.1)})
        >>> right = latent.sample({"z": torch.empty(5, 3), "y": torch.empty(5, 1)})
        >>> latent.log_prob(right).shape
        torch.Size([5])
    """

    def __init__(self, densities: Mapping[str, nn.Module], pad_sigma: float = 0.01) -> None:
        super().__init__()
        self.densities = nn.ModuleDict(densities)
        if "pad" not in self.densities:
            self.densities["pad"] = Normal(pad_sigma)

    def build(self, parts: Mapping[str, tuple[int, ...]]) -> None:
        """Build the density of every right part for its shape.

        Raises:
            InnflowError: if a part has no density, or a density cannot have this size.
        """
        missing = [name for name in parts if name not in self]
        if missing:
            raise InnflowError(
                f"latent: right part {', '.join(missing)} has no density; "
                f"there is one for {', '.join(self.densities)}"
            )
        for name, shape in parts.items():
            self[name].build(math.prod(shape))

    def advance(self, progress: float) -> None:
        """Anneal every density to a training progress in [0, 1]."""
        for name in self.densities:
            self[name].advance(progress)

    def __contains__(self, name: str) -> bool:
        return name in self.densities

    def __getitem__(self, name: str) -> Density:
        """Return the density of one part."""
        return cast(Density, self.densities[name])

    def log_prob(
        self, parts: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the sum of log p over the parts, (B,) in nats."""
        targets = targets or {}
        terms = [self[name].log_prob(value, targets.get(name)) for name, value in parts.items()]
        return torch.stack(terms).sum(dim=0)

    def sample(
        self,
        like: Mapping[str, Tensor],
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        targets: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Draw every part with the shape, type and device of its entry in `like`."""
        targets = targets or {}
        return {
            name: self[name].sample(value, temperature, generator, targets.get(name))
            for name, value in like.items()
        }
