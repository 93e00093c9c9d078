"""What every application answers: density, latents, samples, scores; data units in and out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from innflow.app.module import FlowModule
from innflow.app.preprocess import Pixels, Units, Vectors
from innflow.app.sharding import gathered
from innflow.errors import InnflowError
from innflow.flow.inspect import CouplingTrace, latent_layout, trace
from innflow.latent.density import Normal
from innflow.objective.base import Step
from innflow.partition import PAD
from innflow.score.base import Measured
from innflow.score.scorer import Scorer


class Application(FlowModule):
    """A trained flow that can be asked; what `innflow.load` returns.

    Every question takes and gives data units, on any device, and is answered in evaluation mode,
    without gradients and in the flow's own precision.
    """

    scorer: Scorer | None = None
    """The run's fitted scores."""

    def check_data(self, data: Any) -> None:
        """Refuse a data module that the application cannot be trained on; by default none."""

    def check_objective(self, data: Any) -> None:
        """Refuse loss terms that ask for more than the data and the companions give."""
        general = getattr(data, "has_general", False)
        for name, term in self.objective.terms.items():
            check = getattr(term, "check", None)
            if self.objective.weights[name] and check is not None:
                check(self.companions, general)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Answer without gradients, in evaluation mode and in full precision."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False), gathered(self):
                yield
        finally:
            self.train(training)

    def _take(self, name: str, values: Tensor) -> Tensor:
        """Check the shape of one part of a batch and send it to the flow's device."""
        shape = tuple(self.shapes.get(name, self.shape if name == "x" else values.shape[1:]))
        if tuple(values.shape[1:]) != shape:
            raise InnflowError(
                f"{type(self).__name__}: {name} has shape {tuple(values.shape)}, "
                f"takes (batch, {', '.join(map(str, shape))})"
            )
        return values.to(self.device)


class Unconditional(Application):
    """Questions about x alone.

        app = innflow.load(run)
        app.log_prob(x), app.sample(64), app.encode(x), app.decode(z), app.score(x)

    Args:
        args: as for `FlowModule`.
        units: how data become the flow's coordinates; vectors as they are by default.
        kwargs: as for `FlowModule`.
    """

    def __init__(self, *args: Any, units: Units | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.units = units or Vectors()

    @property
    def log_volume(self) -> float:
        """Log of the factor by which `preprocess` shrinks volumes, in nats."""
        return self.units.log_volume(self.dims)

    def preprocess(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Take x to the flow's unit."""
        return {"x": self.units.preprocess(batch["x"].to(self.parameter_dtype), noise)}

    def check_data(self, data: Any) -> None:
        """Refuse to take numbers for grey levels: maps of features have the shape of images."""
        kind = data.sets()["train"].__getitems__([0])["x"].dtype
        if isinstance(self.units, Pixels) and kind != torch.uint8:
            raise InnflowError(
                f"{type(self).__name__}: takes images of whole grey levels, the data are {kind} "
                f"of shape {self.shape}: app=density takes any numbers"
            )

    def _step(self, x: Tensor, noise: torch.Generator | None = None) -> Step:
        return self(self.padded(self.preprocess({"x": self._take("x", x)}, noise), noise))

    def log_prob(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return log p(x), (B,) in nats.

        Args:
            x: data, (B, *shape).
            noise_seed: seed of the noise that `preprocess` adds in training; none is added without.
        """
        with self._asked():
            noise = None if noise_seed is None else torch.Generator().manual_seed(noise_seed)
            return self._step(x, noise).log_prob

    def encode(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return the latents (B, N) of data (B, *shape); `noise_seed` as for `log_prob`."""
        with self._asked():
            noise = None if noise_seed is None else torch.Generator().manual_seed(noise_seed)
            return self.partition.join("right", self._step(x, noise).latents)

    def decode(self, z: Tensor) -> Tensor:
        """Return the data (B, *shape) of latents (B, N)."""
        with self._asked():
            joined, _ = self.flow.inverse(z.to(self.device, self.parameter_dtype))
            return self.units.restore(self.partition.split("left", joined)["x"])

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw n items, (n, *shape) in data units; images as uint8.

        Args:
            n: how many.
            temperature: factor on the width of the latent; below 1 for more typical items.
            seed: of the draw; torch's global generator without.
        """
        return self._draw(n, temperature, seed, {})

    def _draw(
        self, n: int, temperature: float, seed: int | None, targets: Mapping[str, Tensor]
    ) -> Tensor:
        if n < 1 or temperature < 0:
            raise InnflowError(f"sample: n={n}, temperature={temperature}: takes n >= 1, >= 0")
        generator = torch.default_generator
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        empty = torch.empty(
            n, self.partition.features, dtype=self.parameter_dtype, device=self.device
        )
        like = self.partition.split("right", empty)
        with self._asked():
            drawn = self.latent.sample(like, temperature, generator, targets)
        return self.units.finish(self.decode(self.partition.join("right", drawn)))

    def measure(self, x: Tensor) -> Measured[Tensor]:
        """Compute the inputs of anomaly scores for data (B, *shape), in one pass of each model."""
        with self._asked():
            measured = self._measure(x)
        companions = {
            name: cast(Unconditional, companion).to(self.device).measure(x).terms
            for name, companion in self.companions.items()
        }
        return replace(measured, companions=companions)

    def measure_graph(self, x: Tensor) -> Tensor:
        """Return the contribution of each scale to log p(x), (B, L) in nats, with gradients to x.

        Args:
            x: floats in data units, (B, *shape).
        """
        with self._asked(), torch.enable_grad():
            return self._measure(x).terms

    def _measure(self, x: Tensor) -> Measured[Tensor]:
        parts = self.padded(self.preprocess({"x": self._take("x", x)}, None), None)
        scales = self.flow.terms(self.partition.join("left", parts))
        latent = torch.cat([z for z, _ in scales], dim=1)
        shares = self._shares(latent, [z.shape[1] for z, _ in scales])
        terms = shares + torch.stack([logdet for _, logdet in scales], dim=1)
        if PAD in self.partition.left:
            last = self.latent[PAD].log_prob(parts[PAD].flatten(1))
            terms = torch.cat((terms[:, :-1], terms[:, -1:] - last[:, None]), dim=1)
        logabsdet = torch.stack([logdet for _, logdet in scales]).sum(dim=0)
        return Measured(terms.sum(dim=1), terms, logabsdet, latent, x)

    def trace(self, x: Tensor) -> list[CouplingTrace]:
        """Return what every coupling does to data (B, *shape), in the layout of the data."""
        with self._asked():
            parts = self.padded(self.preprocess({"x": self._take("x", x)}, None), None)
            return list(trace(self.flow, self.partition.join("left", parts)))

    def latent_layout(self, z: Tensor) -> Tensor:
        """Return latents (B, N) in the layout of the data, by undoing squeezes and splits alone."""
        return latent_layout(self.flow, z)

    def _shares(self, latent: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return what the latents of each scale add to log p(x), (B, L).

        A part that lies across scales is divided where its features are independent of each
        other, and otherwise belongs to the deepest scale that it reaches.
        """
        share = self.log_volume / self.partition.features
        shares = [latent.new_full((len(latent),), -share * size) for size in sizes]
        ends = list(accumulate(sizes))
        start = 0
        for name, part in self.partition.split("right", latent).items():
            flat = part.flatten(1)
            stop = start + flat.shape[1]
            for scale, end in enumerate(ends):
                begin = end - sizes[scale]
                if isinstance(self.latent[name], Normal):
                    piece = flat[:, max(begin - start, 0) : max(min(end, stop) - start, 0)]
                else:
                    piece = flat if begin < stop <= end else flat[:, :0]
                if piece.shape[1]:
                    shares[scale] = shares[scale] + self.latent[name].log_prob(piece)
            start = stop
        return torch.stack(shares, dim=1)

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
        return self.scorer(self.measure(x).numpy())

    def _likelihood(self, stage: str, step: Step) -> dict[str, Tensor]:
        if not isinstance(self.units, Pixels):
            return {}
        return {f"{stage}/bpd": -step.log_prob.mean() / (self.dims * math.log(2))}
