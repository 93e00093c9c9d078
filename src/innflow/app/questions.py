"""What every application answers: density, latents, samples, scores; data units in and out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innflow.app.base import FlowModule
from innflow.errors import InnflowError
from innflow.score import Measured, Scorer


class Measurement(NamedTuple):
    """What one pass finds out about each item of a batch.

    Attributes:
        log_prob: log p(x), (B,) in nats.
        terms: the share of each scale in log_prob, (B, L), the deepest last.
        logabsdet: log-determinant of the flow, (B,).
        latent: (B, N).
    """

    log_prob: Tensor
    terms: Tensor
    logabsdet: Tensor
    latent: Tensor


class Application(FlowModule):
    """A trained flow that can be asked; what `innflow.load` returns.

    Every question takes and gives data units, on any device, and is answered in evaluation mode,
    without gradients and in the flow's own precision.

        app = innflow.load(run)
        app.log_prob(x), app.sample(64), app.encode(x), app.decode(z), app.score(x)
    """

    scorer: Scorer | None = None
    """The run's fitted scores."""

    @abstractmethod
    def restore(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return x in data units from left parts: the inverse of `observe`."""

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Answer without gradients, in evaluation mode and in full precision."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            self.train(training)

    def _observe(self, x: Tensor, noise: torch.Generator | None = None) -> dict[str, Tensor]:
        if tuple(x.shape[1:]) != self.shape:
            raise InnflowError(
                f"{type(self).__name__}: x has shape {tuple(x.shape)}, "
                f"takes (batch, {', '.join(map(str, self.shape))})"
            )
        return self.observe({"x": x.to(self.device)}, noise)

    def log_prob(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return log p(x), (B,) in nats.

        Args:
            x: data, (B, *shape).
            noise_seed: seed of the noise that `observe` adds in training; none is added without.
        """
        with self._asked():
            noise = None if noise_seed is None else torch.Generator().manual_seed(noise_seed)
            return self(self._observe(x, noise)).log_prob

    def encode(self, x: Tensor) -> Tensor:
        """Return the latents (B, N) of data (B, *shape)."""
        with self._asked():
            step = self(self._observe(x))
            return self.partition.join("right", step.latents)

    def decode(self, z: Tensor) -> Tensor:
        """Return the data (B, *shape) of latents (B, N)."""
        with self._asked():
            joined, _ = self.flow.inverse(z.to(self.device, self.parameter_dtype))
            return self.restore(self.partition.split("left", joined))

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw n items, (n, *shape) in data units.

        Args:
            n: how many.
            temperature: factor on the width of the latent; below 1 for more typical items.
            seed: of the draw; torch's global generator without.
        """
        if n < 1 or temperature < 0:
            raise InnflowError(f"sample: n={n}, temperature={temperature}: takes n >= 1, >= 0")
        generator = torch.default_generator
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        empty = torch.empty(
            n, self.partition.features, dtype=self.parameter_dtype, device=self.device
        )
        drawn = self.latent.sample(self.partition.split("right", empty), temperature, generator)
        return self.decode(self.partition.join("right", drawn))

    def measure(self, x: Tensor) -> Measurement:
        """Return what anomaly scores are made of, in one pass."""
        with self._asked():
            left = self.partition.join("left", self._observe(x))
            scales = self.flow.terms(left)
            share = self.log_volume / self.partition.features
            density = self.latent["z"]
            terms = torch.stack(
                [density.log_prob(z) + logdet - share * z.shape[1] for z, logdet in scales],
                dim=1,
            )
            return Measurement(
                log_prob=terms.sum(dim=1),
                terms=terms,
                logabsdet=torch.stack([logdet for _, logdet in scales]).sum(dim=0),
                latent=torch.cat([z for z, _ in scales], dim=1),
            )

    def score(self, x: Tensor) -> dict[str, np.ndarray]:
        """Return `score` (higher is stranger), `p_value`, and every score of the run by name.

        Raises:
            InnflowError: if the application comes without fitted scores, from a bare checkpoint.
        """
        if self.scorer is None:
            raise InnflowError(
                "score: this application has no fitted scores; load it from the folder of a "
                "finished run"
            )
        batch = self.measure(x)
        arrays = {name: value.cpu().numpy() for name, value in batch._asdict().items()}
        return self.scorer(Measured(**arrays, data=x.cpu().numpy(), dims=self.dims))
