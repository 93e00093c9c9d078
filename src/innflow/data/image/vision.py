"""Data sets of torchvision, converted once into a memory-mapped cache."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from innflow.data.base import check_choice
from innflow.data.image.cache import Cached, cache_key, read_cache, write_cache
from innflow.data.image.copies import NearCopies
from innflow.data.image.decode import to_pixels
from innflow.data.image.images import DEFAULT_CACHE, ImageModule
from innflow.data.image.storage import map_threads
from innflow.data.sets import PartsSet, make_sets
from innflow.errors import InnflowError
from innflow.system.progress import track


@dataclass(frozen=True)
class _Known:
    """How torchvision opens the two splits of a set, its folder below the root, and the classes."""

    opener: Callable[..., Any]
    key: str  # of the argument that selects a split, train or test
    train: Any
    test: Any
    folder: str
    classes: Sequence[str]  # in torchvision's order of the labels; empty without labels


_DIGITS = [str(digit) for digit in range(10)]
_THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_BREEDS = [
    "Abyssinian", "American Bulldog", "American Pit Bull Terrier", "Basset Hound", "Beagle",
    "Bengal", "Birman", "Bombay", "Boxer", "British Shorthair", "Chihuahua", "Egyptian Mau",
    "English Cocker Spaniel", "English Setter", "German Shorthaired", "Great Pyrenees",
    "Havanese", "Japanese Chin", "Keeshond", "Leonberger", "Maine Coon", "Miniature Pinscher",
    "Newfoundland", "Persian", "Pomeranian", "Pug", "Ragdoll", "Russian Blue", "Saint Bernard",
    "Samoyed", "Scottish Terrier", "Shiba Inu", "Siamese", "Sphynx", "Staffordshire Bull Terrier",
    "Wheaten Terrier", "Yorkshire Terrier",
]  # fmt: skip

_FASHION, _PETS = datasets.FashionMNIST, datasets.OxfordIIITPet
_KNOWN = {
    "mnist": _Known(datasets.MNIST, "train", True, False, "MNIST/raw", _DIGITS),
    "fashionmnist": _Known(_FASHION, "train", True, False, "FashionMNIST/raw", _FASHION.classes),
    "cifar10": _Known(datasets.CIFAR10, "train", True, False, "cifar-10-batches-py", _THINGS),
    "svhn": _Known(datasets.SVHN, "split", "train", "test", "", _DIGITS),
    "celeba": _Known(datasets.CelebA, "split", "train", "test", "celeba", []),
    "oxfordiiitpet": _Known(_PETS, "split", "trainval", "test", "oxford-iiit-pet", _BREEDS),
}


class Vision(ImageModule):
    """A data set of torchvision; the test splits of others are outlier sets.

    >>> Vision("mnist", root="data", size=28, channels=1, labels=True).classes[:3]
    ['0', '1', '2']

    Args:
        name: mnist, fashionmnist, cifar10, svhn, celeba or oxfordiiitpet.
        root: Where torchvision keeps the files.
        outliers: Names of the data sets whose test splits are outlier sets.
        download: Whether to fetch what is not there.
        labels: Whether the sets of inliers carry the class of each image; celeba has none.
        size, channels, batch_size, holdout, augment, cache_dir, workers, seed: See `ImageModule`.
        general, near_copies: See `ImageModule`.
    """

    def __init__(
        self,
        name: str,
        root: str | os.PathLike[str],
        size: int = 32,
        channels: int = 3,
        batch_size: int = 64,
        holdout: float = 0.05,
        outliers: Sequence[str] = (),
        download: bool = True,
        augment: Sequence[str] | Mapping[str, float] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 0,
        seed: int = 0,
        labels: bool = False,
        general: str | os.PathLike[str] | None = None,
        near_copies: NearCopies = "leave_out",
    ) -> None:
        common = (batch_size, holdout, augment, cache_dir, workers, seed, general, near_copies)
        super().__init__(size, channels, *common)
        self.title = self.source = check_choice("name", str(name).lower(), tuple(_KNOWN))
        others = [check_choice("outliers", str(other).lower(), tuple(_KNOWN)) for other in outliers]
        self.outliers = list(dict.fromkeys(others))
        if self.title in self.outliers:
            raise InnflowError(f"data.outliers: {self.title} is data.name, it cannot be an outlier")
        if labels and not _KNOWN[self.title].classes:
            raise InnflowError(f"data.labels=true: {self.title} has no classes")
        self._classes = list(_KNOWN[self.title].classes) if labels else []
        self.root = Path(root).expanduser()
        self.download = download

    def prepare_data(self) -> None:
        """Download and convert what is not in the cache yet."""
        for name, split in self._splits().values():
            self._open(name, split, verify=True)

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets, from the cache."""
        splits: dict[str, PartsSet] = {}
        for key, (name, split) in self._splits().items():
            cached = self._open(name, split)
            parts = {"x": cached.images}
            if self.classes and key in ("train", "test"):
                labels = [int(item.rpartition("/")[2]) for item in cached.names]
                parts["label"] = torch.tensor(labels)
            splits[key] = PartsSet.numbered(key, "train" if key == "train" else "outlier", parts)
        train, test, of = splits["train"], splits["test"], f"{self.title}, training images"
        sets = make_sets(train, test, self.holdout, self.seed, of, classes=self.classes)
        return sets | {name: splits[name] for name in self.outliers}

    def _splits(self) -> dict[str, tuple[str, str]]:
        inliers = {"train": (self.title, "train"), "test": (self.title, "test")}
        return inliers | {name: (name, "test") for name in self.outliers}

    def _open(self, name: str, split: str, verify: bool = False) -> Cached:
        root = str(self.root.absolute())
        key = cache_key("vision, labelled", root, name, split, self.size, self.channels)
        cached = read_cache(self.cache_dir, key, verify)
        if cached is None:
            images = load_torchvision(name, split, self.root, self.download)

            def load(index: int) -> tuple[str, np.ndarray | str]:
                """Return the index and label as a name, and the pixels or why there are none."""
                try:
                    image, label = images[index]
                    title = f"{index}/{int(label)}" if _KNOWN[name].classes else str(index)
                    return title, to_pixels(image, self.size, self.channels)
                except (OSError, ValueError) as error:
                    return str(index), str(error)

            loaded = map_threads(load, range(len(images)), os.cpu_count() or 1)
            items = track(loaded, f"converting {name} {split}", len(images))
            cached = write_cache(self.cache_dir, key, items, len(images), f"{name} {split}")
        return cached


def load_torchvision(name: str, split: str, root: Path, download: bool) -> Any:
    """Open one split, "train" or "test", of a known set.

    Raises:
        InnflowError: It is not in `root`, and `download` is false or fails.
    """
    known = _KNOWN[name]
    place = root / known.folder
    try:
        # torchvision prints progress; standard output is reserved for the results of commands.
        with contextlib.redirect_stdout(sys.stderr):
            chosen = {known.key: known.train if split == "train" else known.test}
            return known.opener(root=str(root), download=download, **chosen)
    except Exception as error:
        if not download:
            line = f"{name} is not in {place}: put its files there, or set data.download=true"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            line = f"cannot download {name} ({reason}): put its files into {place} by hand"
        raise InnflowError(line) from error
