"""Images from a folder tree or a bucket, decoded once into a memory-mapped cache."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from innflow.data.image.augment import build_augment
from innflow.data.base import (
    PartsDataModule,
    PartsSet,
    check_whole,
    split_holdout,
    split_stratified,
)
from innflow.data.sets import Role
from innflow.data.image.cache import (
    Cached,
    cache_key,
    name_first,
    read_cache,
    stop_if_too_many,
    write_cache,
)
from innflow.data.image.decode import decode
from innflow.data.image.storage import Storage, open_storage
from innflow.errors import InnflowError
from innflow.system.progress import track

T = TypeVar("T")
log = logging.getLogger(__name__)

DEFAULT_CACHE = "~/.cache/innflow"
_TEST_SHARE = 0.1
MAX_SIZE = 1024
"""Longest side that is taken: a typo with zeros too many must not fill the memory."""
_LAYOUT = "expected ROOT/train/<class>/... and ROOT/test/<class>/..."


class ImageModule(PartsDataModule):
    """What all data modules of images share: size, channels, cache and augmentation.

    Args:
        size: Height and width in pixels.
        channels: 3 for colour, 1 for grey.
        batch_size: Over all ranks together.
        holdout: Fraction of the training images that becomes the set "val".
        augment: Names from flip, zoom, shear, rotate, resample, or a map from these to amounts.
        cache_dir: Where decoded images are kept.
        workers: Processes that read ahead.
        seed: Of the splits.
        general: Folder or bucket of more general images, to tell the training images from.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        batch_size: int,
        holdout: float,
        augment: Sequence[str] | Mapping[str, float] | None,
        cache_dir: str | os.PathLike[str],
        workers: int,
        seed: int,
        general: str | os.PathLike[str] | None = None,
    ) -> None:
        if check_whole("size", size, 1) > MAX_SIZE:
            raise InnflowError(f"data.size={size}: flows of more than {MAX_SIZE} pixels do not fit")
        if channels not in (1, 3):
            raise InnflowError(f"data.channels={channels}: give 3 for colour or 1 for grey")
        super().__init__((channels, size, size), batch_size, holdout, workers, seed)
        self.size, self.channels = size, channels
        self.cache_dir = Path(cache_dir).expanduser()
        self.augmentation = build_augment(augment)
        self.general = general

    def load_general(self) -> PartsSet | None:
        """Return the training images below `general`, in the size and the colours of these."""
        if self.general is None:
            return None
        others = Images(
            self.general,
            self.size,
            self.channels,
            batch_size=1,
            holdout=self.holdout,
            cache_dir=self.cache_dir,
            seed=self.seed,
        )
        train = others.sets()["train"]
        return PartsSet(str(self.general), "train", {"x": train.parts["x"]}, train.names)

    def augment(self, x: Tensor) -> Tensor:
        """Return a random variation of each image of x (B, C, H, W), in the type of x."""
        return x if self.augmentation is None else self.augmentation(x)

    def split_rows(
        self, rows: Tensor, fraction: float, source: str, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the rows to keep and those to hold out, evenly over the classes if there are any.

        Args:
            rows: Positions of the items.
            fraction: Of them to hold out.
            source: Where the items come from, for the error when there are too few.
            labels: Class of every item, of the others too.
        """
        of = f"{source}, training images"
        if labels is None:
            kept, held = split_holdout(len(rows), fraction, self.seed, of)
        else:
            kept, held = split_stratified(labels[rows], self.classes, fraction, self.seed, of)
        return rows[kept], rows[held]


class Images(ImageModule):
    """Images in `train/<class>/...`, `val/<class>/...` and `test/<class>/...`, at any depth.

    The classes in train are the inliers: their images in test are the set "test", those in val the
    set "val". Every other folder in test is a set of outliers by its name. Where there is no
    `test/`, `val/` is the test set, and a part of train becomes the set "val", as it does where
    there is no `val/`. A root without such folders is all inliers, of which a tenth becomes the
    set "test". Other folders or buckets can be sets of outliers too.

    With labels, the class folders of the inliers in alphabetical order are labels 0, 1 and so on.
    Then a root without train and test may hold the class folders themselves, and every split takes
    the same share of each class.

    Args:
        root: Folder, or `s3://bucket/prefix`.
        size: Height and width in pixels: the shorter side is resized to it, the centre kept.
        channels: 3 for colour, 1 for grey.
        batch_size: Over all ranks together.
        holdout: Fraction of the training images that becomes the set "val", where no folder does.
        inliers: Classes to train on; all in train by default. Other classes in train are left out.
        augment: Names from flip, zoom, shear, rotate, resample, or a map from these to amounts.
        cache_dir: Where decoded images are kept.
        workers: Processes that read ahead.
        seed: Of the splits.
        labels: Whether the sets of inliers carry the class of each image.
        general: Folder or bucket of more general images, to tell the training images from.
        outliers: Name -> folder or bucket of a further set of outliers: all images of a plain
            folder; of one with train/ those that a run on it with the same seed is tested on, so
            that a general model has not been trained on them.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int = 32,
        channels: int = 3,
        batch_size: int = 64,
        holdout: float = 0.05,
        inliers: Sequence[str] | None = None,
        augment: Sequence[str] | Mapping[str, float] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 0,
        seed: int = 0,
        labels: bool = False,
        general: str | os.PathLike[str] | None = None,
        outliers: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> None:
        super().__init__(
            size, channels, batch_size, holdout, augment, cache_dir, workers, seed, general
        )
        if root is None or str(root) == "":
            raise InnflowError(
                f"data.root is empty: give a folder or s3://bucket/prefix; {_LAYOUT}"
            )
        self.root = str(root)
        self.inliers = None if inliers is None else [str(name) for name in inliers]
        self.labels = labels
        self.outliers = dict(outliers or {})
        self._cached: Cached | None = None

    @property
    def classes(self) -> list[str]:
        """Name of each label, from the folders; empty without labels."""
        if self.labels and not self._classes:
            self._list()
        return self._classes

    def prepare_data(self) -> None:
        """Decode all images into the cache, unless they are there, whole and current."""
        self._cached = self.open_cache(verify=True)

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets, from the cache."""
        cached = self._cached or self.open_cache(verify=False)
        places, held = self._layout(cached.names)
        labels = None
        if self.labels:
            self._classes = self._name_classes(places, held)
            known = {kind: label for label, kind in enumerate(self._classes)}
            labels = torch.tensor([known.get(kind, -1) for _, kind in places])
        sets = {}
        for name, (role, index) in self._sort(places, held, labels).items():
            whole = {"x": cached.images}
            if labels is not None and role != "outlier":
                whole["label"] = labels
            names = [cached.names[row] for row in index]
            sets[name] = PartsSet(name, role, whole, names, index)
        for name, source in self.outliers.items():
            if name in sets or name in ("samples", ""):
                raise InnflowError(f"data.outliers.{name}: there is a set of this name already")
            sets[name] = self._further(name, source)
        return sets

    def _further(self, name: str, source: str | os.PathLike[str]) -> PartsSet:
        """Return the images of another source that no run on it is trained on, as outliers."""
        other = Images(source, self.size, self.channels, cache_dir=self.cache_dir, seed=self.seed)
        cached = other.open_cache(verify=False)
        if any(_place(path)[0] == "train" for path in cached.names):
            held = other.sets()["test"]
            return PartsSet(name, "outlier", held.parts, held.names)
        return PartsSet(name, "outlier", {"x": cached.images}, cached.names)

    def open_cache(self, verify: bool) -> Cached:
        """Open the cache of the root, decoding its images if need be."""
        storage = self._list()
        stamps = [(entry.path, entry.size, entry.stamp) for entry in storage.entries]
        key = cache_key("images", storage.root, self.size, self.channels, stamps)
        cached = read_cache(self.cache_dir, key, verify)
        if cached is None:
            total = len(storage.entries)
            items = _decode_all(storage, self.size, self.channels)
            cached = write_cache(self.cache_dir, key, items, total, self.root)
        if cached.skipped:
            log.warning(
                "%s: skipped %s of %s images that cannot be decoded: %s",
                self.root,
                f"{len(cached.skipped):,}",
                f"{len(storage.entries):,}",
                name_first(cached.skipped),
            )
        return cached

    def _list(self) -> Storage:
        """Check the folders before anything is decoded, and leave out what no set will hold."""
        if Path(self.root).is_file():
            raise InnflowError(f"data.root={self.root} is a file: give a folder of images")
        storage = open_storage(self.root)
        places, held = self._layout([entry.path for entry in storage.entries])
        splits = {split for split, _ in places}
        if splits & {"val", "test"} and "train" not in splits:
            raise InnflowError(f"{self.root} has {held}/ but no train/ with images: {_LAYOUT}")
        if self.labels:
            self._classes = self._name_classes(places, held)
        classes = {kind for split, kind in places if split == "train"}
        missing = sorted(set(self.inliers or ()) - classes)
        if missing:
            found = f"choose from {', '.join(sorted(classes))}" if classes else _LAYOUT
            raise InnflowError(
                f"data.inliers: no images in {self.root}/train/{missing[0]}: {found}"
            )
        if "train" not in splits:
            return storage
        inliers = set(self.inliers or classes)
        used = [
            entry
            for entry, (split, kind) in zip(storage.entries, places, strict=True)
            if split in ("train", held) or (split == "val" and kind in inliers)
        ]
        if held == "val" and held in splits:
            log.info(
                "%s: no test/, so val/ is the test set and a part of train/ is held out as "
                "the validation set",
                self.root,
            )
        if len(used) < len(places):
            others = f"{len(places) - len(used):,}"
            log.info("%s: %s images are in none of the sets and not used", self.root, others)
        return replace(storage, entries=used)

    def _layout(self, paths: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
        """Return the split and the class of every path, and the folder that is tested on."""
        places = [_place(path) for path in paths]
        splits = {split for split, _ in places}
        held = "val" if "val" in splits and "test" not in splits else "test"
        if self.labels and not splits & {"train", "val", "test"}:
            places = [("train", kind) for kind, _ in places]
        return places, held

    def _name_classes(self, places: Iterable[tuple[str, str]], held: str) -> list[str]:
        """Return the classes that have labels, each with images to train and to test on."""
        folders = set(places)
        found = {kind for split, kind in folders if split == "train"}
        if not self.inliers and "" in found:
            raise InnflowError(
                f"labels missing: {self.root} has training images in no class folder: {_LAYOUT}"
            )
        classes = sorted(set(self.inliers or found))
        for split in ("train", held):
            if not any(split == other for other, _ in folders):
                continue
            for kind in classes:
                if (split, kind) not in folders:
                    raise InnflowError(
                        f"labels missing for class {kind}: {self.root}/{split}/{kind} has no images"
                    )
        if len(classes) < 2:
            raise InnflowError(
                f"data.labels=true needs two classes or more to train on, there is {classes[0]} "
                f"alone: add to data.inliers, or a folder to {self.root}/train"
            )
        return classes

    def _sort(
        self, places: Sequence[tuple[str, str]], held: str, labels: Tensor | None
    ) -> dict[str, tuple[Role, Tensor]]:
        """Return the role and the rows of every set."""
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, place in enumerate(places):
            groups[place].append(row)
        if not any(split == "train" for split, _ in groups):
            groups = {("train", ""): list(range(len(places)))}

        def take(split: str, classes: Iterable[str]) -> Tensor:
            rows = (row for kind in classes for row in groups.get((split, kind), []))
            return torch.tensor(sorted(rows), dtype=torch.long)

        inliers = set(self.inliers or (kind for split, kind in groups if split == "train"))
        outliers = sorted({kind for split, kind in groups if split == held} - inliers)
        train, test = take("train", inliers), take(held, inliers)
        if not len(test):
            train, test = self.split_rows(train, _TEST_SHARE, self.root, labels)
            note = "%s: no inliers in %s/, so %s of the training images are tested on instead"
            log.info(note, self.root, held, f"{len(test):,}")
        val = torch.empty(0, dtype=torch.long) if held == "val" else take("val", inliers)
        if not len(val):
            train, val = self.split_rows(train, self.holdout, self.root, labels)

        sets: dict[str, tuple[Role, Tensor]] = {
            "train": ("train", train),
            "val": ("val", val),
            "test": ("inlier", test),
        }
        for name in outliers:
            if name in sets or not name:
                raise InnflowError(
                    f"{self.root}/{held}/{name}: outliers need a folder of their own, "
                    "by another name than train, val or test"
                )
            sets[name] = ("outlier", take(held, [name]))
        return sets


def read_images(
    source: str | os.PathLike[str], size: int, channels: int
) -> tuple[Tensor, list[str], list[str]]:
    """Decode every image of a folder, a bucket or a single file, without any cache.

    Returns:
        Images uint8 (N, C, size, size), their names, and "name: reason" of those that cannot be
        decoded.

    Raises:
        InnflowError: There is nothing to read, or more than 5% cannot be decoded.
    """
    storage = open_storage(source)
    images: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[str] = []
    for name, image in _decode_all(storage, size, channels):
        if isinstance(image, str):
            skipped.append(f"{name}: {image}")
            stop_if_too_many(skipped, len(storage.entries), str(source))
        else:
            images.append(image)
            names.append(name)
    return torch.from_numpy(np.stack(images)), names, skipped


def _place(path: str) -> tuple[str, str]:
    """Return the split and the class of a path such as train/cat/tabby/1.jpg; "" for none."""
    split, kind, *_ = [*path.split("/")[:-1], "", ""]
    return split, kind


def _decode_all(
    storage: Storage, size: int, channels: int
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield the name of every image, and its pixels or the reason why there are none."""

    def load(path: str) -> tuple[str, np.ndarray | str]:
        try:
            return path, decode(storage.read(path), size, channels)
        except ValueError as error:
            return path, str(error)
        except OSError as error:
            return path, error.strerror or str(error)

    paths = [entry.path for entry in storage.entries]
    # Decoding leaves the interpreter's lock, and waiting for a network needs no core at all.
    threads = 32 if storage.remote else os.cpu_count() or 1
    yield from track(map_threads(load, paths, threads), "decoding images", len(paths))


def map_threads(function: Callable[[Any], T], items: Iterable[Any], threads: int) -> Iterator[T]:
    """Yield the results of a function in order, with a bounded number of them in memory."""
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while block := list(islice(remaining, 32 * threads)):
            yield from pool.map(function, block)
