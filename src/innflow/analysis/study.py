"""`Study`, the argument of every analysis: a trained application, its data and measured sets."""

import math
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.findings import Findings
from innflow.app.application import Application, Unconditional
from innflow.app.density import Generation
from innflow.data.base import PartsDataModule
from innflow.data.sets import PartsSet
from innflow.errors import InnflowError
from innflow.figure.style import palette
from innflow.latent import PrincipalNormal
from innflow.score.base import Measured
from innflow.score.scorer import Scorer
from innflow.system.progress import track

App = TypeVar("App", bound=Application)

BATCH = 256

# Arrays of a set of more than this many bytes are stored in a temporary file, not in memory.
IN_MEMORY = 512 * 2**20
QUICK_ITEMS = 64
"""Number of items of each set other than "train" that a quick study measures."""


@dataclass(eq=False)
class Study:
    """A trained application, its sets and its scorer; results for each set are computed once.

    All test inliers calibrate the p-values of new items. To evaluate p-values and scores, the test
    inliers are split into two halves by the seed: one calibrates, the other is evaluated.

        >>> from innflow.app import Density
        >>> from innflow.data.toy.clouds import Toy
        >>> from innflow.flow import vector
        >>> data = Toy("moons", n=300, n_test=100)
        >>> study = Study(Density(vector(2)), data, data.sets(), scorer=None, quick=True)
        >>> study.measure("test").latent.shape, study.count(1000, quick=20)
        ((64, 2), 20)

    Args:
        app: the trained application.
        data: the data module.
        sets: "train", "val" and "test", then the outlier sets.
        scorer: fitted, or to be fitted by `fit_scorer`; None if items are not scored.
        seed: of every random choice of an analysis.
        train_limit: largest number of training items that are measured, a fixed random choice.
        run_dir: the run folder, if there is one.
        quick: reduce the sizes of all analyses, to check in seconds that they run.
    """

    app: Application
    data: PartsDataModule
    sets: Mapping[str, PartsSet]
    scorer: Scorer | None
    seed: int = 0
    train_limit: int = 2000
    run_dir: Path | None = None
    quick: bool = False
    _measured: dict[str, Measured[np.ndarray]] = field(init=False, default_factory=dict)

    def count(self, full: int, quick: int) -> int:
        """Return the size `full` of an analysis, limited to `quick` in a quick study."""
        return min(full, quick) if self.quick else full

    @property
    def density(self) -> Unconditional:
        """The application as a density of x alone.

        Raises:
            InnflowError: if it is conditional on observations.
        """
        if not isinstance(self.app, Unconditional):
            raise InnflowError(
                f"analysis: {type(self.app).__name__} has no density of x alone: choose "
                "analysis=posterior, or app=density"
            )
        return self.app

    @cached_property
    def is_image(self) -> bool:
        """Whether x is an image (C, H, W) of grey levels; maps of features are not."""
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
        count = len(self.index("test"))
        if count < 4:
            raise InnflowError(f"set test: {count} items cannot be split to calibrate and to test")
        order = np.random.default_rng(self.seed).permutation(count)
        return np.sort(order[: count // 2]), np.sort(order[count // 2 :])

    @property
    def calibration_index(self) -> np.ndarray:
        """Indices of the measured test items that calibrate p-values when they are evaluated."""
        return self._halves[0]

    @property
    def test_index(self) -> np.ndarray:
        """Indices of the measured test items on which scores are evaluated."""
        return self._halves[1]

    def index(self, name: str) -> np.ndarray:
        """Return the positions of the measured items in a set: all, or a fixed random choice."""
        count = len(self.sets[name])
        limit = self.train_limit if name == "train" else self.count(count, QUICK_ITEMS)
        if count <= limit:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, limit, replace=False))

    def names(self, name: str) -> list[str]:
        """Return the names of the measured items of a set."""
        return [str(self.sets[name].names[i]) for i in self.index(name)]

    def measure(self, name: str) -> Measured[np.ndarray]:
        """Compute log probabilities and latents of the items of a set, once.

        Raises:
            InnflowError: if a log probability is not finite.
        """
        if name not in self._measured:
            self._measured[name] = self._measure(name)
        return self._measured[name]

    def fit_scorer(self) -> None:
        """Fit the scorer on train and calibrate it on the test set."""
        self.require_scorer("scores").fit(self.measure("train"), self.measure("test"))

    def encode(self, x: np.ndarray, description: str = "encode") -> np.ndarray:
        """Return the latent vectors of items (N, ...) as float32, (N, D)."""
        return in_batches(self.density.encode, x, description)

    def decode(self, z: np.ndarray, description: str = "decode") -> np.ndarray:
        """Return the items of latent vectors (N, D) as floats in data units."""
        return in_batches(self.density.decode, z.astype(np.float32, copy=False), description)

    @property
    def fitted_latents(self) -> PrincipalNormal | None:
        """The distribution from which the application draws latents of images, if it is fitted."""
        return self.app.fitted_latents if isinstance(self.app, Generation) else None

    def sample(self, n: int, temperature: float = 1.0, exact: bool = False) -> np.ndarray:
        """Draw n items with the study's seed, from the same latent noise at every temperature.

        `exact` draws images from the density even if a distribution is fitted to the latents.
        """
        options = {"exact": exact} if isinstance(self.app, Generation) else {}
        return sample_in_batches(self.density.sample, n, temperature, self.seed, **options)

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Round and clip images to whole grey levels and stretch them to 8 bits for display."""
        return to_pixels(self.round(x) * (255 / (self.data.levels - 1)))

    def round(self, x: np.ndarray) -> np.ndarray:
        """Round and clip images to whole grey levels."""
        return np.clip(np.rint(x.astype(np.float64)), 0, self.data.levels - 1)

    def require(self, kind: type[App], analysis: str, hint: str) -> App:
        """Return the application; raise InnflowError if it is not of the given class.

        Args:
            kind: class of the application.
            analysis: name of the analysis, for the message.
            hint: for the message: what the application lacks, and the key to change.
        """
        if not isinstance(self.app, kind):
            raise InnflowError(
                f"analysis {analysis}: {type(self.app).__name__} {hint}, or leave it out with "
                f"analysis.{analysis}=null"
            )
        return self.app

    def require_scorer(self, analysis: str) -> Scorer:
        """Return the scorer; raise InnflowError if the run has none."""
        if self.scorer is None:
            raise InnflowError(
                f"analysis {analysis}: the run has no scores: choose score=default, or leave it "
                f"out with analysis.{analysis}=null"
            )
        return self.scorer

    def score_names(self, analysis: str) -> list[str]:
        """Return the names of the scores, the headline first."""
        scorer = self.require_scorer(analysis)
        return sorted(scorer.scores, key=lambda name: name != scorer.headline)

    def _measure(self, name: str) -> Measured[np.ndarray]:
        items, index = self.sets[name], self.index(name)
        rows: dict[str, np.ndarray] = {}
        for start in track(range(0, len(index), BATCH), f"measure {name}"):
            x = items.__getitems__(torch.from_numpy(index[start : start + BATCH]))["x"]
            found = self.density.measure(x).numpy().arrays()
            for key in found.keys() - {"data"}:
                values = found[key]
                if key not in rows:
                    rows[key] = _allocate((len(index), *values.shape[1:]), values.dtype)
                rows[key][start : start + len(values)] = values
        # A whole set shares its items with the data module instead of copying them.
        whole = len(index) == len(items)
        data = items.parts["x"] if whole else items.__getitems__(torch.from_numpy(index))["x"]
        measured = Measured.from_arrays({**rows, "data": data.numpy()})
        others = {f" by companion {key}": t.sum(axis=1) for key, t in measured.companions.items()}
        for key, log_prob in {"": measured.log_prob, **others}.items():
            bad = np.flatnonzero(~np.isfinite(log_prob))
            if len(bad):
                raise InnflowError(
                    f"set {name}: log probability{key} is not finite for {len(bad)} of "
                    f"{len(index)} items, the first is {items.names[index[bad[0]]]}"
                )
        return measured


class Analysis:
    """An analysis of a trained application: a dataclass of settings that is called with a study."""

    def check(self, study: Study) -> None:
        """Raise InnflowError, before training, if application, data or settings do not fit."""

    def __call__(self, study: Study) -> Findings:
        """Return the findings."""
        raise NotImplementedError


class ImageAnalysis(Analysis):
    """An analysis of the density of images; messages contain its class name in snake case."""

    def check(self, study: Study) -> None:
        """Raise InnflowError for data that are not images, and for a conditional application."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        if not study.is_image:
            raise InnflowError(
                f"analysis {name}: needs images, the data have shape {tuple(study.app.shape)} "
                f"and no grey levels: leave it out with analysis.{name}=null"
            )
        study.require(Unconditional, name, "has no density of x alone: choose app=density")


def in_batches(
    function: Callable[[Tensor], Tensor], items: np.ndarray, description: str, size: int = BATCH
) -> np.ndarray:
    """Apply a function of an application to an array, `size` items at a time."""
    starts = track(range(0, len(items), size), description)
    # torch.tensor copies: the array may be a read-only view of a file.
    batches = (torch.tensor(items[start : start + size]) for start in starts)
    return np.concatenate([function(batch).detach().cpu().numpy() for batch in batches])


def sample_in_batches(
    draw: Callable[..., Tensor], n: int, temperature: float, seed: int, **options: Any
) -> np.ndarray:
    """Draw n items of an application, at most 256 in one call, with a seed for each call."""
    starts = range(0, n, BATCH)
    drawn = [draw(min(BATCH, n - i), temperature, seed=seed + i, **options) for i in starts]
    return torch.cat(drawn).cpu().numpy()


def to_pixels(x: np.ndarray) -> np.ndarray:
    """Round and clip images to 8 bits, as they are shown and saved."""
    if x.dtype == np.uint8:
        return x
    if not np.isfinite(x).all():
        raise InnflowError(f"{int((~np.isfinite(x)).sum())} pixel values of images are not finite")
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    # The file is unlinked at once, so its space is freed together with the array.
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, mode="w+", shape=shape)
