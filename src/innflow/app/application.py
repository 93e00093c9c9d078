"""Inference with a trained flow: density, latents, samples and anomaly scores in data units."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from innflow.app.anomaly_map import likelihood_map, why_no_map
from innflow.app.inputs import are_pictures, to_images, to_vectors
from innflow.app.module import FlowModule, Noise
from innflow.app.preprocess import LEVELS, Dequantization, Preprocessing
from innflow.app.sharding import gathered_parameters
from innflow.data.feature.embeddings import Embeddings
from innflow.errors import InnflowError
from innflow.flow.inspect import CouplingTrace, trace
from innflow.latent.density import Normal, StandardNormal
from innflow.objective.base import Parts, Step
from innflow.partition import PAD
from innflow.score.base import FEATURES, Measured
from innflow.score.scorer import Scorer
from innflow.system.ranks import seeded_generator

ELEMENTS = 1 << 20
"""Numbers in a batch of data that goes through the flow at a time."""


class Application(FlowModule):
    """Base class of applications, whose instances `innflow.load` returns.

    Inference methods take and return data units, on any device, and run in evaluation mode,
    without gradients and in the precision of the flow.

    Attributes:
        scorer: fitted anomaly scores of the run; None for a bare checkpoint.
    """

    scorer: Scorer | None = None

    def check_data(self, data: Any) -> None:
        """Raise if the application cannot be trained on a data module; accepts all by default."""

    def check_objective(self, data: Any) -> None:
        """Raise if a loss term needs a latent, general set or companion that the run lacks."""
        right = {name: self.latent[name] for name in self.partition.right}
        for term in self.objective.used.values():
            term.check_right(right)
            term.check(self.companions, data.general_set is not None)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Run the block in evaluation mode, without gradients and in full precision."""
        training = self.training
        self.eval()
        try:
            autocast = torch.autocast(self.device.type, enabled=False)
            with torch.no_grad(), autocast, gathered_parameters(self):
                yield
        finally:
            self.train(training)

    def _sample_right(
        self, n: int, generator: torch.Generator, targets: Parts, temperature: float = 1.0
    ) -> Tensor:
        """Draw n items of the joined right side, (n, N)."""
        size = (n, self.partition.features)
        empty = torch.empty(size, dtype=self.parameter_dtype, device=self.device)
        like = self.partition.split("right", empty)
        drawn = self.latent.sample(like, temperature, generator, targets)
        return self.partition.join("right", drawn)

    def feature_names(self, part: str, features: int) -> list[str]:
        """Return the names of the features of a part that consists of vectors."""
        return self.columns.get(part) or [f"{part}{i}" for i in range(features)]

    def _vectors(self, part: str, values: Any, features: int, missing: bool = False) -> Tensor:
        """Return vectors of a part, (B, D), on the device of the flow; see `to_vectors`."""
        names, label = self.feature_names(part, features), self.config.get("data", {}).get("label")
        vectors = to_vectors(values, names, part in self.columns, part, label, missing)
        return vectors.to(self.device, self.parameter_dtype)


class Unconditional(Application):
    """Application whose data are x alone: `log_prob`, `encode`, `decode`, `sample`, `score`.

    Args:
        preprocessing: maps data to the units of the flow; the identity by default. The other
            arguments are those of `FlowModule`.

    Attributes:
        features: of a loaded run on features of a pretrained network, returns what embeds pictures.

    Example:
        >>> from innflow import flow
        >>> app = Unconditional(flow.vector(2, depth=2, hidden=(8,)))
        >>> x = app.sample(5, temperature=0.7, seed=0)
        >>> torch.allclose(app.decode(app.encode(x)), x, atol=1e-5)
        True
    """

    features: Callable[[], Embeddings] | None = None

    def __init__(
        self, *args: Any, preprocessing: Preprocessing | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.preprocessing = preprocessing or Preprocessing()

    @property
    def log_volume(self) -> float:
        """Log, in nats, of the factor by which `preprocess` shrinks volumes."""
        return self.preprocessing.log_volume(self.dims)

    def preprocess(self, batch: Parts, noise: Noise) -> dict[str, Tensor]:
        """Return x in the units of the flow."""
        return {"x": self.preprocessing.preprocess(batch["x"].to(self.parameter_dtype), noise)}

    def check_data(self, data: Any) -> None:
        """Raise if the data of an application on images are not integer grey levels."""
        kind = data.sets()["train"].__getitems__([0])["x"].dtype
        if isinstance(self.preprocessing, Dequantization) and kind != torch.uint8:
            raise InnflowError(
                f"{type(self).__name__}: the data must be images of integer grey levels, not "
                f"{kind} of shape {self.shape}; app=density accepts any numbers"
            )

    def to_data(self, x: Any) -> Tensor:
        """Return items as data (B, *shape) on the device of the flow.

        Images of integer grey levels: tensors or arrays, channels first or last, PIL images, paths,
        folders, or a list of these; all but floats are resized and cropped as in training. Vectors:
        tensors, arrays, data frames with the columns of the run, or the path of a table. For
        features of a pretrained network: features, or pictures (uint8) in all forms of images.

        Raises:
            InnflowError: if a shape, a column or a value does not fit, or an image is scaled.
        """
        if self.features is not None and are_pictures(x):
            features = self.features()
            pictures = to_images(x, (3, features.size, features.size), LEVELS)
            return features.embed(pictures).to(self.device)
        if len(self.shape) == 1:
            return self._vectors("x", x, self.dims)
        if isinstance(self.preprocessing, Dequantization):
            return to_images(x, self.shape, self.preprocessing.levels).to(self.device)
        maps = torch.as_tensor(x)
        if tuple(maps.shape[1:]) != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise InnflowError(f"x has shape {tuple(maps.shape)}, expected (batch, {expected})")
        return maps.to(self.device)

    def _left(self, x: Any, noise_seed: int | None = None) -> dict[str, Tensor]:
        """Return the left parts, padding included, of items as `to_data` takes them."""
        return self.pad(self.preprocess({"x": self.to_data(x)}, noise_seed), noise_seed)

    def _pieces(self, x: Any) -> Iterator[Tensor]:
        """Yield the data of items, as many rows at a time as fit into memory."""
        yield from self.to_data(x).split(max(1, ELEMENTS // self.dims))

    def log_prob(self, x: Any, noise_seed: int | None = None) -> Tensor:
        """Return log p(x), (B,) in nats.

        For images, the mean over dequantization noise is a lower bound of the discrete log
        probability. Without noise, at the bin centres, the value only ranks items: it is no bound.

        Args:
            x: data (B, *shape), or items in any form that `to_data` takes.
            noise_seed: seed of the noise. The noise of an item depends only on the seed and the
                item; there is none if the seed is None.
        """
        with self._inference():
            pieces = [self(self._left(x, noise_seed)).log_prob for x in self._pieces(x)]
            return torch.cat(pieces)

    def encode(self, x: Any, noise_seed: int | None = None) -> Tensor:
        """Return the latents (B, N) of data (B, *shape); arguments as for `log_prob`."""
        with self._inference():
            return self.partition.join("right", self(self._left(x, noise_seed)).latents)

    def decode(self, z: Tensor) -> Tensor:
        """Return the data (B, *shape) of latents (B, N), images as floating grey levels."""
        with self._inference():
            joined, _ = self.flow.inverse(z.to(self.device, self.parameter_dtype))
            return self.preprocessing.postprocess(self.partition.split("left", joined)["x"])

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw n items, (n, *shape) in data units; images as uint8.

        Args:
            n: number of samples.
            temperature: factor on the standard deviation of the latents.
            seed: seed of the samples; None uses torch's global generator.

        Raises:
            InnflowError: if n < 1 or temperature < 0.
        """
        return self._draw(n, temperature, seed, {})

    def draw_latents(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw latents (n, N) of the density; arguments as for `sample`."""
        return self._draw_latents(n, temperature, seed, {})

    def _draw_latents(self, n: int, temperature: float, seed: int | None, targets: Parts) -> Tensor:
        if n < 1 or temperature < 0:
            raise InnflowError(f"sample: n={n}, temperature={temperature}: must be >= 1 and >= 0")
        with self._inference():
            return self._sample_right(n, seeded_generator(seed), targets, temperature)

    def _draw(self, n: int, temperature: float, seed: int | None, targets: Parts) -> Tensor:
        drawn = self._draw_latents(n, temperature, seed, targets)
        return self.preprocessing.quantize(self.decode(drawn))

    def measure(self, x: Any) -> Measured[Tensor]:
        """Compute the inputs of anomaly scores for data (B, *shape), in one pass of each model.

        Images are dequantized to the bin centres, so that scores are repeatable. For the forms of x
        see `to_data`.
        """
        x = self.to_data(x)
        with self._inference():
            arrays = self.measured_arrays(x)
        pictures = self.preprocessing.quantize(x)  # what a companion on features takes
        others: dict[str, Measured[Tensor]] = {}
        for name, companion in self.companions.items():
            other = cast(Unconditional, companion).to(self.device)
            others[name] = other.measure(x if other.features is None else pictures)
        return Measured(
            **arrays,
            companions={name: other.terms for name, other in others.items()},
            features=others[FEATURES].latent if FEATURES in others else None,
        )

    def measured_arrays(self, x: Tensor) -> dict[str, Tensor]:
        """Return the entries of `Measured` but those of companions for data (B, *shape)."""
        parts = self.pad(self.preprocess({"x": x}, None), None)
        scales = self.flow.terms(self.partition.join("left", parts))
        latent = torch.cat([z for z, _ in scales], dim=1)
        shares = self._shares(latent, [z.shape[1] for z, _ in scales])
        logdets = torch.stack([logdet for _, logdet in scales], dim=1)
        terms = shares + logdets
        if PAD in self.partition.left:
            last = self.latent[PAD].log_prob(parts[PAD].flatten(1))
            terms = torch.cat((terms[:, :-1], terms[:, -1:] - last[:, None]), dim=1)
        return {
            "log_prob": terms.sum(dim=1),
            "terms": terms,
            "logabsdet": logdets.sum(dim=1),
            "latent": latent,
            "data": x,
        }

    def trace(self, x: Any) -> list[CouplingTrace]:
        """Return inputs and outputs of every coupling for data (B, *shape), in their layout."""
        with self._inference():
            return list(trace(self.flow, self.partition.join("left", self._left(x))))

    def _shares(self, latent: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the log density of the latents of each scale, data volume included, (B, L).

        A density of independent features is divided among their scales. Any other density belongs
        as a whole to its deepest scale.
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

    def score(self, x: Any) -> dict[str, np.ndarray]:
        """Return the anomaly scores of data (B, *shape), each (B,), higher for more anomalous ones.

        The entries are `score` and `p_value` of the headline score, and all scores by name. The
        items of a folder are in the order of their sorted paths. For the forms of x see `to_data`.

        Raises:
            InnflowError: if there are no fitted scores, as in a bare checkpoint, and as `to_data`.
        """
        if self.scorer is None:
            raise InnflowError("score: no fitted scores: load the folder of a finished run")
        scored = [self.scorer(self.measure(piece).numpy()) for piece in self._pieces(x)]
        return {name: np.concatenate([one[name] for one in scored]) for name in scored[0]}

    def why_no_map(self) -> str:
        """Return why there are no anomaly maps; empty if there are."""
        latent = [self.latent[name] for name in self.partition.right]
        if PAD in self.partition.left or not all(isinstance(one, StandardNormal) for one in latent):
            return f"anomaly maps: need the partition x <-> z, not {self.partition}"
        return why_no_map(self.flow)

    def anomaly_map(self, x: Any) -> Tensor:
        """Return the contribution of each pixel to -log p(x), (B, H, W) in nats.

        The sum over pixels is `-log_prob(x)`; large values mark improbable places. Of maps of
        features there is a value for each position. For the forms of x see `to_data`.

        Raises:
            InnflowError: as `why_no_map` and `to_data`.
        """
        if reason := self.why_no_map():
            raise InnflowError(reason)
        with self._inference():
            maps = [
                likelihood_map(self.flow, self.partition.join("left", self._left(piece)))
                for piece in self._pieces(x)
            ]
        found = torch.cat(maps)
        return found + self.log_volume / found[0].numel()

    def step_metrics(self, stage: str, step: Step) -> dict[str, Tensor]:
        """Return the bits per dim of images."""
        if not isinstance(self.preprocessing, Dequantization):
            return {}
        return {f"{stage}/bpd": -step.log_prob.mean() / (self.dims * math.log(2))}
