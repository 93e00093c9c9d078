"""Features of a pretrained network as data: vectors, or maps with spatial positions."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innflow.data.base import PartsDataModule, PartsSet
from innflow.data.feature.backbone import Backbone
from innflow.data.feature.features import Coordinates, Normalisation, compute_features
from innflow.data.feature.network import LITE0
from innflow.data.image.copies import NearCopies
from innflow.data.image.images import DEFAULT_CACHE
from innflow.data.image.simcats import cats
from innflow.errors import InnflowError
from innflow.system.ranks import randn


class Embeddings(PartsDataModule):
    """Features of a pretrained network for the images of a folder tree as for `Images`.

    The sets are those of the images. The part x is a feature vector (D,), or with `spatial` the map
    of a layer (C, H, W). The normalisation is fitted to the training set only.

    >>> Embeddings(None, size=32, network="resnet18").shape
    (512,)

    Args:
        size: Height and width in pixels of the network's input.
        network: efficientnet_lite0, a classifier of torchvision by its name, or timm:NAME.
        weights: File of a state dict; None for the network's own, in place or downloaded.
        layer: Dotted name of a layer of the network; None for what its last linear layer is given.
        spatial: Whether x is the map of the layer, instead of its mean over positions.
        normalise: none, standardise or l2, see `Coordinates`.
        components: Number of principal components; None leaves features as they are.
        noise: Standard deviation of the normal noise that training adds to x, a regularisation for
            few items in many dimensions (Rothfuss et al., arXiv:1907.08982).
        root, inliers, labels, cache_dir, batch_size, holdout, workers, seed, near_copies: See
            `Images`. Without a root, cats are drawn.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        size: int = 128,
        network: str = LITE0,
        weights: str | os.PathLike[str] | None = None,
        layer: str | None = None,
        spatial: bool = False,
        normalise: Normalisation = "standardise",
        components: int | None = None,
        noise: float = 0.0,
        batch_size: int = 128,
        holdout: float = 0.05,
        inliers: Sequence[str] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 0,
        seed: int = 0,
        labels: bool = False,
        near_copies: NearCopies = "leave_out",
    ) -> None:
        common = (batch_size, holdout, inliers, None, cache_dir, workers, seed, labels)
        self.images = cats(root, size, 3, *common, near_copies=near_copies)
        if isinstance(noise, bool) or not 0 <= noise < float("inf"):
            raise InnflowError(f"data.noise={noise}: must be a standard deviation of at least 0")
        self.backbone = Backbone(network, size, weights, layer, spatial)
        self.coordinates = Coordinates(normalise, components)
        shape = self.coordinates.shape(self.backbone.shape)
        super().__init__(shape, batch_size, holdout, workers, seed)
        self.noise_sd = float(noise)
        self.size, self.channels = size, self.images.channels
        self.drawn = self.images.drawn
        self.cache_dir = Path(cache_dir).expanduser()

    @property
    def classes(self) -> list[str]:
        """Name of each label, from the folders; empty without labels."""
        return self.images.classes

    def augment(self, x: Tensor) -> Tensor:
        """Return x with fresh noise."""
        if not self.noise_sd:
            return x
        return x + self.noise_sd * randn(x.shape, batch_axis=0, dtype=x.dtype, device=x.device)

    def prepare_data(self) -> None:
        """Decode the images and compute their features, unless the cache has them."""
        self.images.prepare_data()
        self._features()

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets of features, from the cache."""
        features, names = self._features()
        row_of = {name: row for row, name in enumerate(names)}
        sets = {}
        for key, items in self.images.sets().items():  # the training set is the first
            x = features[torch.tensor([row_of[name] for name in items.names])]
            if not self.coordinates.fitted:
                self.coordinates.fit(x)
            parts = {**items.parts, "x": self.coordinates(x)}
            sets[key] = PartsSet(key, items.role, parts, items.names)
        return sets

    def picture(self, name: str, index: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        """Return the images uint8 (N, 3, S, S) of the features at positions (N,) of a set."""
        self.setup()
        return self.images.sets()[name].__getitems__(torch.as_tensor(index))["x"].numpy()

    def embed(self, images: Tensor) -> Tensor:
        """Return x (N, *shape) of images uint8 (N, 3, S, S), preprocessed as the sets are.

        Raises:
            InnflowError: The coordinates are not fitted, by `setup` or `load_state`.
        """
        return self.coordinates(self.backbone(images))

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted coordinates and the digest of the weights."""
        self.setup()
        return {**self.coordinates.state(), "weights": np.array(self.backbone.hash)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the coordinates of a run, to be used instead of fitting them again.

        Raises:
            InnflowError: The run used other weights.
        """
        if str(state["weights"]) != self.backbone.hash:
            raise InnflowError(
                f"data.network={self.backbone.network}: its weights are not those of the run; give "
                "the run's own by data.weights=FILE"
            )
        fitted = {key: value for key, value in state.items() if key != "weights"}
        self.coordinates.load_state(fitted)
        self._sets = {}

    def _features(self) -> tuple[Tensor, list[str]]:
        """Return the features (N, C, ...) of all images of the root and their names."""
        cached = self.images.open_cache(verify=False)
        features = compute_features(self.cache_dir, cached.images, cached.names, self.backbone)
        return features, cached.names
