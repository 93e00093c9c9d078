"""What an analysis may look at, and what it hands back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.findings import Findings
from innflow.errors import InnflowError
from innflow.figure.style import palette
from innflow.score import Likelihoods, Measured, Scorer
from innflow.system.progress import track

BATCH = 256

# Latents of more than this many bytes live in a temporary file instead of in memory.
IN_MEMORY = 512 * 2**20


class MeasuredBatch(Protocol):
    """Tensors of one batch: the attributes of `Measured` that an application computes."""

    @property
    def log_prob(self) -> Tensor: ...  # noqa: D102
    @property
    def terms(self) -> Tensor: ...  # noqa: D102
    @property
    def logabsdet(self) -> Tensor: ...  # noqa: D102
    @property
    def latent(self) -> Tensor: ...  # noqa: D102


class SeenCoupling(Protocol):
    """What one coupling does to a batch, in image layout: tensors (B, C, H, W)."""

    @property
    def level(self) -> int: ...  # noqa: D102
    @property
    def log_scale(self) -> Tensor: ...  # noqa: D102
    @property
    def shift(self) -> Tensor: ...  # noqa: D102
    @property
    def outputs(self) -> Tensor: ...  # noqa: D102


class Application(Protocol):
    """A trained flow as an analysis sees it; x in data units, 0 to 255 for images."""

    @property
    def shape(self) -> Sequence[int]:
        """Shape of x, without the batch."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (B,); of the 8-bit image for images."""

    def encode(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return latent vectors, (B, N); with a seed, of x and the noise of training."""

    def decode(self, z: Tensor) -> Tensor:
        """Return x as floats, neither rounded nor clipped, for latent vectors (B, N)."""

    def sample(self, n: int, temperature: float = 1.0, seed: int | None = None) -> Tensor:
        """Draw n items in data units, uint8 for images."""

    def measure(self, x: Tensor) -> MeasuredBatch:
        """Return all that scores need of a batch, in one pass."""

    def measure_graph(self, x: Tensor) -> Tensor:
        """Return the contribution of each scale to log p, (B, L) in nats, with gradients on x."""

    def trace(self, x: Tensor) -> Sequence[SeenCoupling]:
        """Return what each coupling does to images, first to last."""

    def latent_layout(self, z: Tensor) -> Tensor:
        """Lay latent vectors (B, N) out as images (B, C, H, W)."""


class InverseApplication(Protocol):
    """A trained posterior p(x | y) as an analysis sees it; x (B, P) and y (B, M) in data units."""

    @property
    def partition(self) -> Any:
        """Names of the parts: `left` holds "eps" where the noise is drawn beside x."""

    @property
    def width(self) -> float:
        """Width that training gives y, in the unit of `y_units`; 0 for none."""

    @property
    def y_units(self) -> Callable[[Tensor], Tensor]:
        """The map of data y to the flow's unit, column by column."""

    @property
    def device(self) -> torch.device:
        """Where the application lies."""

    def posterior(self, y: Tensor, n: int = 1000, seed: int | None = None) -> Tensor:
        """Draw from p(x | y), (n, P) for y (M,) or (B, n, P) for y (B, M)."""

    def posterior_noise(self, y: Tensor, n: int = 1000, seed: int | None = None) -> Tensor:
        """Return the noise eps of the same draws, (n, M) or (B, n, M)."""

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log p(x | y), (B,) in nats, where the partition has x alone on its left."""

    def encode(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return z (B, K)."""


class Items(Protocol):
    """A set of items with named parts; `innflow.data` has the real one."""

    role: Any
    names: Sequence[str]

    @property
    def parts(self) -> Mapping[str, Tensor]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitems__(self, indices: Sequence[int] | Tensor) -> Mapping[str, Tensor]: ...


class Study:
    """A trained application, its sets and its scorer, with one cached pass over each set.

    The inlier test set "test" is parted into two halves by the seed: p-values are calibrated on
    one, and whatever judges a score looks at the other.

    Args:
        app: the trained application; its kind decides which analyses it can be given.
        data: the data module; analyses ask it for `augment`, an exact `log_prob`, or what it
            knows of an inverse problem.
        sets: "train", "val" and "test", then the outlier sets.
        scorer: fitted, or to be fitted by `fit_scorer`; None where items are not scored.
        seed: of every choice that an analysis makes.
        train_limit: at most this many training items are measured, a fixed random choice.
        run_dir: the run folder, where there is one.
    """

    def __init__(
        self,
        app: Any,
        data: Any,
        sets: Mapping[str, Items],
        scorer: Scorer | None,
        seed: int = 0,
        train_limit: int = 2000,
        run_dir: Path | None = None,
    ) -> None:
        self.app: Application = app
        self.data = data
        self.sets = dict(sets)
        self.scorer = scorer
        self.seed = seed
        self.train_limit = train_limit
        self.run_dir = run_dir
        self._measured: dict[str, Measured] = {}

    @cached_property
    def is_image(self) -> bool:
        """Whether x is an image: (C, H, W) of grey levels, which maps of features are not."""
        item = next(iter(self.sets.values())).__getitems__([0])["x"]
        return len(self.app.shape) == 3 and item.dtype == torch.uint8

    @property
    def dims(self) -> int:
        """Number of dimensions of x."""
        return math.prod(self.app.shape)

    @property
    def outliers(self) -> list[str]:
        """Names of the outlier sets."""
        return [name for name, items in self.sets.items() if items.role == "outlier"]

    @cached_property
    def colors(self) -> dict[str, str]:
        """Colour of each set, and of "samples"."""
        roles = {name: str(items.role) for name, items in self.sets.items()}
        return palette({**roles, "samples": "sample"})

    @cached_property
    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        count = len(self.sets["test"])
        if count < 4:
            raise InnflowError(f"set test: {count} items cannot be split to calibrate and to test")
        order = np.random.default_rng(self.seed).permutation(count)
        return np.sort(order[: count // 2]), np.sort(order[count // 2 :])

    @property
    def calibration_index(self) -> np.ndarray:
        """Positions in test that p-values are calibrated on."""
        return self._halves[0]

    @property
    def test_index(self) -> np.ndarray:
        """Positions in test that scores are tested on."""
        return self._halves[1]

    def index(self, name: str) -> np.ndarray:
        """Return the positions in a set that `measure` looks at: all, but for a large train."""
        count = len(self.sets[name])
        if name != "train" or count <= self.train_limit:
            return np.arange(count)
        rng = np.random.default_rng(self.seed)
        return np.sort(rng.choice(count, self.train_limit, replace=False))

    def names(self, name: str) -> list[str]:
        """Return the names of the items that `measure` looks at."""
        return [str(self.sets[name].names[i]) for i in self.index(name)]

    def measure(self, name: str) -> Measured:
        """Measure a set, once; the training set up to `train_limit` items.

        Raises:
            InnflowError: where a log probability is not finite.
        """
        if name not in self._measured:
            self._measured[name] = self._measure(name)
        return self._measured[name]

    def fit_scorer(self) -> None:
        """Fit the scorer on train and calibrate it on the calibration half of test."""
        self.require_scorer("scores").fit(
            self.measure("train"), self.measure("test")[self.calibration_index]
        )

    def encode(self, x: np.ndarray, description: str = "encode") -> np.ndarray:
        """Return the latent vectors of items (N, ...) as float32, (N, D)."""
        return in_batches(self.app.encode, x, description)

    def decode(self, z: np.ndarray, description: str = "decode") -> np.ndarray:
        """Return the items of latent vectors (N, D) as floats in data units."""
        return in_batches(self.app.decode, z.astype(np.float32, copy=False), description)

    def sample(self, n: int, temperature: float = 1.0) -> np.ndarray:
        """Draw n items with the study's seed: the same noise at every temperature."""
        drawn = [
            self.app.sample(min(BATCH, n - start), temperature, seed=self.seed + start)
            for start in range(0, n, BATCH)
        ]
        return torch.cat(drawn).cpu().numpy()

    @property
    def levels(self) -> int:
        """Number of grey levels of an image."""
        return self.data.levels

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Round and clip images to whole grey levels and stretch them to 8 bits, to be shown."""
        whole = np.clip(np.rint(x.astype(np.float64)), 0, self.levels - 1)
        return to_pixels(whole * (255 / (self.levels - 1)))

    def require_scorer(self, analysis: str) -> Scorer:
        """Return the scorer, refusing a run that has none."""
        if self.scorer is None:
            raise InnflowError(
                f"analysis {analysis}: the run has no scores: choose score=default, or leave it "
                "out of the analysis group"
            )
        return self.scorer

    def require_posterior(self, analysis: str) -> InverseApplication:
        """Return the application, refusing one that draws no posterior."""
        app: Any = self.app
        if not hasattr(app, "posterior"):
            raise InnflowError(
                f"analysis {analysis}: {type(app).__name__} has no posterior: choose app=inverse, "
                "or leave it out of the analysis group"
            )
        return app

    def require_images(self, analysis: str) -> None:
        """Refuse data that are not images."""
        if not self.is_image:
            raise InnflowError(
                f"analysis {analysis}: needs images, the data have shape {tuple(self.app.shape)} "
                "and no grey levels: leave it out of the analysis group"
            )

    def _measure(self, name: str) -> Measured:
        items = self.sets[name]
        index = self.index(name)
        whole = len(index) == len(items)
        rows: dict[str, np.ndarray] = {}
        for start in track(range(0, len(index), BATCH), f"measure {name}"):
            x = items.__getitems__(torch.from_numpy(index[start : start + BATCH]))["x"]
            for key, tensor in self._arrays(x).items():
                values = tensor.detach().cpu().numpy()
                if key not in rows:
                    rows[key] = _room((len(index), *values.shape[1:]), values.dtype)
                rows[key][start : start + len(values)] = values
        for key, values in rows.items():
            if not key.endswith("log_prob"):
                continue
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                of = key.removesuffix("log_prob").strip("/")
                raise InnflowError(
                    f"set {name}: log probability{of and f' by companion {of}'} is not finite for "
                    f"{len(bad)} of {len(index)} items, the first is {items.names[index[bad[0]]]}"
                )
        data = items.parts["x"] if whole else items.__getitems__(torch.from_numpy(index))["x"]
        own = {key: values for key, values in rows.items() if "/" not in key}
        companions = {
            key.removesuffix("/log_prob"): Likelihoods(
                values, rows[key.replace("/log_prob", "/terms")]
            )
            for key, values in rows.items()
            if key.endswith("/log_prob")
        }
        return Measured(**own, data=data.numpy(), dims=self.dims, companions=companions)

    def _arrays(self, x: Tensor) -> dict[str, Tensor]:
        """Measure one batch; what companions say is under their names and a slash."""
        measured = self.app.measure(x)
        keys = ("log_prob", "terms", "logabsdet", "latent")
        found = {key: getattr(measured, key) for key in keys}
        classes = getattr(measured, "classes", None)
        if classes is not None:
            found["classes"] = classes
        measure = getattr(self.app, "measure_companions", None)
        for name, other in ({} if measure is None else measure(x)).items():
            found |= {f"{name}/log_prob": other.log_prob, f"{name}/terms": other.terms}
        return found


Analysis = Callable[[Study], Findings]


def in_batches(
    function: Callable[[Tensor], Tensor],
    items: np.ndarray,
    description: str,
    size: int = BATCH,
) -> np.ndarray:
    """Apply a function of an application to an array, `size` items at a time."""
    starts = range(0, len(items), size)
    results = [
        # torch.tensor copies: the array may be a read-only view of a file.
        function(torch.tensor(items[start : start + size])).detach().cpu().numpy()
        for start in track(starts, description)
    ]
    return np.concatenate(results)


def require_whole(key: str, value: Any, least: int) -> None:
    """Refuse a setting of an analysis that is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InnflowError(f"analysis.{key}={value}: takes a whole number of at least {least}")


def to_pixels(x: np.ndarray) -> np.ndarray:
    """Round and clip images to 8 bits, as they are shown and saved."""
    if x.dtype == np.uint8:
        return x
    if not np.isfinite(x).all():
        raise InnflowError(f"{int((~np.isfinite(x)).sum())} pixel values of images are not finite")
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _room(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    # Unlinked at once: the space is freed when the array is.
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, mode="w+", shape=shape)
