"""Features of a pretrained network for 8-bit images."""

import difflib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from innflow.data.feature.network import Pretrained, open_network
from innflow.data.image.storage import map_threads
from innflow.errors import InnflowError

log = logging.getLogger(__name__)

# Large enough to keep a core busy, small enough for its cache.
_BATCH = 16
_BATCH_CUDA = 256


class Backbone:
    """A pretrained network up to one of its layers.

    On a CPU every thread computes batches of its own, which is faster than sharing the small layers
    of one batch. Batch normalisation is folded into the convolution before it, which changes
    features by rounding errors only.

    Args:
        network, size, weights, layer, spatial: see `Embeddings`.

    Attributes:
        shape: of the features of one image, (C,) or (C, H, W), known without any weights.
    """

    def __init__(
        self,
        network: str,
        size: int,
        weights: str | os.PathLike[str] | None = None,
        layer: str | None = None,
        spatial: bool = False,
    ) -> None:
        self.network, self.size = network, size
        self.layer, self.spatial = layer, spatial
        self.weights = None if weights is None else Path(weights)
        self._source: Pretrained = open_network(network, size)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._hash = ""
        self.shape = self._probe()

    @property
    def hash(self) -> str:
        """Digest of the weights; loads them on first use."""
        if not self._hash:
            self._hash = self._source.load(self.weights)
            fold_batch_norm(self._source.module, self.layer)
            self._source.module.to(self._device).to(memory_format=torch.channels_last)
            if self.layer is not None:
                self._source.module.get_submodule(self.layer).register_forward_hook(_stop)
        return self._hash

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features float32 (N, *shape) of images uint8 (N, 3, size, size)."""
        rows = np.empty((len(images), *self.shape), dtype=np.float32)
        for index, row in enumerate(self.stream(images)):
            rows[index] = row
        return torch.from_numpy(rows)

    def stream(self, images: Tensor) -> Iterator[np.ndarray]:
        """Yield the features of each image, float32 (*shape)."""
        wanted = (3, self.size, self.size)
        if tuple(images.shape[1:]) != wanted or images.dtype != torch.uint8:
            raise InnflowError(
                f"features: images are {images.dtype} {tuple(images.shape)}, expected uint8 "
                f"(N, {', '.join(map(str, wanted))})"
            )
        _ = self.hash
        if self._device.type == "cuda":
            for batch in images.split(_BATCH_CUDA):
                yield from self._forward(batch)
            return
        threads = torch.get_num_threads()
        try:
            for rows in map_threads(self._forward_alone, images.split(_BATCH), threads):
                yield from rows
        finally:
            torch.set_num_threads(threads)

    def _forward_alone(self, images: Tensor) -> np.ndarray:
        torch.set_num_threads(1)
        return self._forward(images)

    def _forward(self, images: Tensor) -> np.ndarray:
        """Return the features of one batch (B, *shape)."""
        with torch.inference_mode():
            pixels = images.to(self._device).float()
            mean, std = self._source.mean.to(pixels), self._source.std.to(pixels)
            pixels = (pixels - mean[:, None, None]) / std[:, None, None]
            try:
                features = self._source.module(pixels.contiguous(memory_format=torch.channels_last))
            except _ReachedError as reached:
                features = reached.features
            if features.ndim == 4 and not self.spatial:
                features = features.mean(dim=(2, 3))
            return features.contiguous().cpu().numpy()

    def _probe(self) -> tuple[int, ...]:
        """Return the shape of the features, from a forward pass of an empty image."""
        module, name = self._source.module, self._source.name
        calls: Counter[str] = Counter()
        shapes: dict[str, tuple[int, ...]] = {}

        def note(path: str, _: nn.Module, __: Any, output: Any) -> None:
            calls[path] += 1
            shapes[path] = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()

        layers = module.named_modules()
        hooks = [layer.register_forward_hook(partial(note, path)) for path, layer in layers]
        try:
            with torch.inference_mode():
                module(torch.zeros(1, 3, self.size, self.size))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InnflowError(
                f"data.network={name} cannot take data.size={self.size} pixels: {reason}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        once = [(path, shape) for path, shape in shapes.items() if calls[path] == 1]
        maps = [path for path, shape in once if len(shape) == 3 and shape[0] > 3 and shape[1] > 1]
        some = ", ".join(_spread(maps))
        if self.layer is not None and self.layer not in shapes:
            close = ", ".join(difflib.get_close_matches(self.layer, shapes, n=3)) or some
            raise InnflowError(
                f"data.layer={self.layer} does not exist in {name}: give a name such as {close}"
            )
        shape = shapes[self.layer or ""]
        if self.layer is None:
            if self.spatial:
                raise InnflowError(
                    f"data.spatial=true needs data.layer: in {name} one such as {some}"
                )
            if not self._source.head or len(shape) != 1:
                raise InnflowError(
                    f"data.network={name} does not end in a linear layer: choose data.layer, such "
                    f"as {some}"
                )
            return shape
        if calls[self.layer] > 1:
            raise InnflowError(
                f"data.layer={self.layer} is called {calls[self.layer]} times in {name}: give one "
                f"such as {some}"
            )
        if len(shape) not in (1, 3) or (self.spatial and len(shape) == 1):
            needed = "(C, H, W)" if self.spatial else "(C,) or (C, H, W)"
            raise InnflowError(
                f"data.layer={self.layer} gives {shape} in {name}, data.spatial="
                f"{str(self.spatial).lower()} needs a layer that gives {needed}"
            )
        return shape if self.spatial else shape[:1]


class _ReachedError(Exception):
    """Raised by the chosen layer to skip the layers after it."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _stop(_: nn.Module, __: Any, output: Tensor) -> None:
    raise _ReachedError(output)


def _spread(names: list[str], count: int = 4) -> list[str]:
    """Return a few of the shortest names, evenly spaced."""
    fewest = min((name.count(".") for name in names if "." in name), default=0)
    short = [name for name in names if name.count(".") <= fewest and name] or names
    steps = np.linspace(0, len(short) - 1, min(count, len(short))).round().astype(int)
    return [short[step] for step in steps]


class _Tracer(fx.Tracer):
    """Tracer that keeps convolutions and normalisations whole, subclasses included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, nn.Conv2d | nn.BatchNorm2d)
        return own or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(module: nn.Module, keep: str | None = None) -> int:
    """Fold each batch normalisation in evaluation mode into the convolution before it, in place.

    The outputs of the module, and of its layer `keep`, stay the same up to rounding.

    Returns:
        Number of folded layers; 0 for a network that cannot be traced.
    """
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # code that inspects values raises any error under tracing
        log.info("batch normalisation is not folded: the network cannot be traced (%s)", error)
        return 0
    layers = dict(module.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    folded = 0
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node):
            continue
        norm, conv = layers[str(node.target)], layers.get(str(before.target))
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(conv, nn.Conv2d):
            continue
        alone = len(before.users) == calls[before.target] == calls[node.target] == 1
        mean, variance = norm.running_mean, norm.running_var
        if not alone or keep == before.target or mean is None or variance is None:
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        parent, _, attribute = str(node.target).rpartition(".")
        # Normalisations of timm contain the activation that follows.
        setattr(layers[parent], attribute, getattr(norm, "act", nn.Identity()))
        folded += 1
    return folded
