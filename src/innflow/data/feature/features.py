"""Features of images, cached on disk, and their normalisation for a flow."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from innflow.data.base import check_choice, check_whole
from innflow.data.feature.backbone import Backbone
from innflow.data.image.cache import cache_key, read_cache, write_cache
from innflow.errors import InnflowError
from innflow.system.progress import track

Normalisation = Literal["none", "standardise", "l2"]
NORMALISATIONS = ("none", "standardise", "l2")
_ARITHMETIC = 1
"""Version of the code of Backbone, part of every cache key: change both together."""
_CHUNK = 4096


def compute_features(
    folder: Path, images: Tensor, names: Sequence[str], backbone: Backbone
) -> Tensor:
    """Return the features float32 (N, *shape) of images, from the cache if they are there.

    The cache key depends on the pixels, not on the place of the files.

    Args:
        folder: where caches lie; made if need be.
        images: uint8 (N, 3, S, S).
        names: of the images, for errors.
        backbone: computes the features.
    """
    digest = hashlib.sha256()
    for chunk in images.split(_CHUNK):
        digest.update(chunk.numpy())
    facts = (digest.hexdigest(), len(images), backbone.size, backbone.layer, backbone.spatial)
    key = cache_key("features", _ARITHMETIC, backbone.network, backbone.hash, *facts)
    cached = read_cache(folder, key)
    if cached is None:
        source = f"features of {backbone.network}"
        rows = track(backbone.stream(images), source, len(images))
        cached = write_cache(folder, key, _finite(names, rows), len(images), source)
    return cached.images


def _finite(
    names: Sequence[str], rows: Iterable[np.ndarray]
) -> Iterator[tuple[str, np.ndarray | str]]:
    for name, row in zip(names, rows, strict=False):
        if not np.isfinite(row).all():
            raise InnflowError(f"{name}: its features are not finite; check data.weights")
        yield name, row


class Coordinates:
    """Normalisation and principal components of features (N, C) or (N, C, H, W).

    `standardise` gives every channel mean 0 and standard deviation 1 over the training items;
    constant channels are only centred. `l2` scales the vector of every item, or of every position
    of a map, to the length sqrt(C).

    Args:
        normalise: none, standardise or l2.
        components: number of principal components to rotate to, without scaling; None for no
            rotation.
    """

    def __init__(self, normalise: Normalisation, components: int | None) -> None:
        self.normalise = check_choice("normalise", normalise, NORMALISATIONS)
        self.components = None if components is None else check_whole("components", components, 1)
        self._state: dict[str, Tensor] = {}

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the coordinates of features of this shape."""
        count = self.components
        if count is None:
            return shape
        if count > shape[0]:
            raise InnflowError(
                f"data.components={count}: there are {shape[0]} features; give fewer, or null"
            )
        return (count, *shape[1:])

    @property
    def fitted(self) -> bool:
        """Whether everything is fitted."""
        wanted = {"mean", "scale"} if self.normalise == "standardise" else set()
        return wanted | (set() if self.components is None else {"centre", "axes"}) <= {*self._state}

    def fit(self, features: Tensor) -> None:
        """Fit means, standard deviations and axes to the features (N, C, ...) of training items."""
        self._state = {}
        rows = _rows(features)
        if self.normalise == "standardise":
            scale = rows.std(dim=0, correction=0)
            self._state["scale"] = torch.where(scale > 0, scale, 1.0)
            self._state["mean"] = rows.mean(dim=0)
        if self.components is not None:
            rows = self._normalised(rows)
            if len(rows) <= self.components:
                raise InnflowError(
                    f"data.components={self.components}: must be fewer than there are training "
                    f"items, {len(rows)}"
                )
            centre = rows.mean(dim=0)
            spread = (rows - centre).double()
            _, axes = torch.linalg.eigh(spread.T @ spread)
            axes = axes.flip(1)[:, : self.components]
            # The sign of an eigenvector is arbitrary: make its largest entry positive.
            signs = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
            self._state |= {"centre": centre, "axes": (axes * signs).float().contiguous()}

    def __call__(self, features: Tensor) -> Tensor:
        """Return the coordinates float32 (N, K, ...) of features (N, C, ...)."""
        if not self.fitted:
            raise InnflowError(
                f"features: normalise={self.normalise}, components={self.components} have not been "
                "fitted to training items"
            )
        out = torch.empty(len(features), *self.shape(tuple(features.shape[1:])))
        for some, result in zip(features.split(_CHUNK), out.split(_CHUNK), strict=True):
            rows = self._normalised(_rows(some))
            if self.components is not None:
                rows = (rows - self._state["centre"]) @ self._state["axes"]
            result.copy_(rows.unflatten(0, some.movedim(1, -1).shape[:-1]).movedim(-1, 1))
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays."""
        return {key: value.numpy() for key, value in self._state.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self._state = {key: torch.from_numpy(value.copy()) for key, value in state.items()}

    def _normalised(self, rows: Tensor) -> Tensor:
        if self.normalise == "standardise":
            return (rows - self._state["mean"]) / self._state["scale"]
        if self.normalise == "l2":
            length = rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
            return rows * (math.sqrt(rows.shape[1]) / length)
        return rows


def _rows(features: Tensor) -> Tensor:
    """Return the vector of every item, or of every position of a map, (M, C)."""
    return features.movedim(1, -1).flatten(0, -2)
