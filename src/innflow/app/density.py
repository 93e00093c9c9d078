"""Density estimation of vectors, and of images with generation (applications 1 and 2)."""

from typing import Any

import numpy as np
from torch import Tensor

from innflow.app.application import Unconditional
from innflow.app.preprocess import LEVELS, Dequantization
from innflow.errors import InnflowError
from innflow.latent.principal import PrincipalNormal

FAR = 0.5
"""Distance from the grey levels, in their range, beyond which a sample is drawn again."""
ATTEMPTS = 3


class Density(Unconditional):
    """Exact density, samples and latents of vectors x; [x] <-> [z].

    Example:
        >>> from innflow import flow
        >>> app = Density(flow.vector(2, depth=2, hidden=(8,)))
        >>> x = app.sample(5, seed=0)
        >>> app.log_prob(x).shape, app.encode(x).shape
        (torch.Size([5]), torch.Size([5, 2]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if set(self.partition.left) != {"x"} or set(self.partition.right) != {"z"}:
            raise InnflowError(f"{type(self).__name__}: needs x <-> z alone, not {self.partition}")


class Generation(Density):
    """Density, samples and latents of images of integer grey levels; [x] <-> [z].

    `log_prob` is in nats per image, see `Dequantization`. A finished run has a normal distribution
    fitted to the latents of its training images (`PrincipalNormal`), from which `sample` draws.

    Args:
        levels: number of grey levels, 256 for 8-bit images.
        components: number of principal components of that distribution; 0 to fit none. The other
            arguments are those of `FlowModule`.

    Example:
        >>> from innflow import flow
        >>> app = Generation(flow.glow((1, 4, 4), levels=1, depth=1, hidden=4))
        >>> app.sample(2, seed=0).dtype
        torch.uint8
    """

    fitted_latents: PrincipalNormal | None = None

    def __init__(
        self, *args: Any, levels: int = LEVELS, components: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(*args, preprocessing=Dequantization(levels), **kwargs)
        if components < 0:
            raise InnflowError(f"app: components={components}: must be at least 0")
        self.components = components

    def sample(
        self, n: int, temperature: float = 1.0, seed: int | None = None, exact: bool = False
    ) -> Tensor:
        """Draw n images, (n, *shape) as uint8.

        An image with a value far outside of the grey levels, which no image can have, is drawn
        again, at most three times, unless the draws are exact.

        Args:
            n: number of samples.
            temperature: factor on the standard deviations of the latents.
            seed: seed of the samples; None uses torch's global generator.
            exact: draw from the density of the flow, as a flow without fitted latents always does,
                and not from the distribution fitted to latents.

        Raises:
            InnflowError: if n < 1 or temperature < 0.
        """
        if exact or self.fitted_latents is None:
            return super().sample(n, temperature, seed)
        images = self._draw_fitted(n, temperature, seed)
        for attempt in range(ATTEMPTS):
            far = self._is_far(images)
            if not far.any():
                break
            again = None if seed is None else _derive(seed, attempt)
            images[far] = self._draw_fitted(int(far.sum()), temperature, again)
        return self.preprocessing.quantize(images)

    def _draw_fitted(self, n: int, temperature: float, seed: int | None) -> Tensor:
        assert self.fitted_latents is not None
        noise = self.draw_latents(n, temperature, seed)
        return self.decode(self.fitted_latents.transform(noise))

    def _is_far(self, images: Tensor) -> Tensor:
        """Return for each image whether a value is not finite or far from all grey levels."""
        levels = self.preprocessing.levels
        far = ((images - levels / 2).abs() > (0.5 + FAR) * levels) | ~images.isfinite()
        return far.flatten(1).any(dim=1)


def _derive(seed: int, attempt: int) -> int:
    return int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0])
