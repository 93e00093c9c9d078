"""Images from a folder tree or a bucket, decoded once into a memory-mapped cache."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from innflow.data.base import PartsDataModule, check_choice, check_whole
from innflow.data.image.augment import build_augment
from innflow.data.image.cache import Cached, cache_key, name_first, read_cache, write_cache
from innflow.data.image.copies import COPIES, NearCopies, leave_out_copies, refuse_copies
from innflow.data.image.folders import LAYOUT, Folders
from innflow.data.image.storage import Storage, decode_all, open_storage
from innflow.data.sets import PartsSet, make_sets
from innflow.errors import InnflowError
from innflow.system.progress import announce

log = logging.getLogger(__name__)

DEFAULT_CACHE = "~/.cache/innflow"
MAX_SIZE = 1024
"""Largest height and width, so that a typo of a few zeros does not fill the memory."""


class ImageModule(PartsDataModule):
    """Base of all data modules of images: size, channels, cache and augmentation.

    Args:
        size: Height and width in pixels: the shorter side is resized to it and the centre cropped.
        channels: 3 for colour, 1 for grey.
        augment: Names from flip, zoom, shear, rotate, resample, or a map from these to amounts.
        cache_dir: Where decoded images are kept.
        general: Folder or bucket of more general images, to contrast the training images with; near
            copies of images that are not trained on are refused.
        near_copies: Whether to leave_out or keep training images that are near copies of val, test
            or outlier images, and validation images that are near copies of test or outlier images.
        batch_size, holdout, workers, seed: See `PartsDataModule`.

    Attributes:
        source: What the images are, for messages.
    """

    source: str

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
        near_copies: NearCopies = "leave_out",
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
        self.near_copies = check_choice("near_copies", near_copies, COPIES)

    def setup(self, stage: str | None = None) -> None:
        """Open the sets, once, and look for near copies across them."""
        if self._sets:
            return
        super().setup(stage)
        if self._general is not None:
            refuse_copies(self._general, self._sets, self.cache_dir)
        keep = self.near_copies == "keep"
        self._sets = leave_out_copies(self._sets, self.source, self.cache_dir, keep)

    def load_general(self) -> PartsSet | None:
        """Return the training images below `general`, of the same size and channels."""
        if self.general is None:
            return None
        size, channels, cache = self.size, self.channels, self.cache_dir
        others = Images(
            self.general, size, channels, 1, self.holdout, cache_dir=cache, seed=self.seed
        )
        train = others.load_sets()["train"]
        return PartsSet(str(self.general), "train", {"x": train.parts["x"]}, train.names)

    def augment(self, x: Tensor) -> Tensor:
        """Return a random variation of each image of x (B, C, H, W), in the type of x."""
        return x if self.augmentation is None else self.augmentation(x)


class Images(ImageModule):
    """Images in `train/<class>/...`, `val/<class>/...` and `test/<class>/...`, at any depth.

    The classes in train/ are the inliers. Their images in val/ and test/ are the sets "val" and
    "test"; every other class in test/ is an outlier set by its name. Missing val/: `holdout` of
    train/. Missing test/: val/ if present, else 10% of train/, of small sets up to a third. A root
    without such folders consists of inliers only.

    With labels, the class folders of the inliers in alphabetical order are labels 0, 1 and so on,
    all splits are stratified by class, and a root may hold just the class folders.

    >>> data = Images("photographs", size=32)
    >>> data.shape
    (3, 32, 32)

    Args:
        root: Folder, or `s3://bucket/prefix`.
        inliers: Classes to train on; all in train by default. Other classes in train are left out.
        labels: Whether the sets of inliers carry the class of each image.
        outliers: Name -> folder or bucket of a further outlier set: all its images, or, if the
            source has a train/ folder, only its test split by the same seed, which models of that
            source were not trained on.
        size, channels, batch_size, holdout, augment, cache_dir, workers, seed: See `ImageModule`.
        general, near_copies: See `ImageModule`.
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
        near_copies: NearCopies = "leave_out",
    ) -> None:
        common = (batch_size, holdout, augment, cache_dir, workers, seed, general, near_copies)
        super().__init__(size, channels, *common)
        if root is None or str(root) == "":
            raise InnflowError(f"data.root is empty: give a folder or s3://bucket/prefix; {LAYOUT}")
        self.root = self.source = str(root)
        self.inliers = None if inliers is None else [str(name) for name in inliers]
        self.labels = labels
        self.outliers = dict(outliers or {})
        self._cached: Cached | None = None

    @property
    def classes(self) -> list[str]:
        """Name of each label, from the folders; empty without labels."""
        if self.labels and not self._classes:
            self._classes = self._listed[1].classes
        return self._classes

    def prepare_data(self) -> None:
        """Decode all images into the cache, unless they are there, whole and current."""
        first = self._cached is None
        self._cached = self.open_cache(verify=True)
        for note in self._listed[1].notes if first else ():
            announce(note)

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets, from the cache."""
        cached = self._cached or self.open_cache(verify=False)
        folders = Folders(self.root, cached.names, self.inliers, self.labels)
        every = PartsSet("images", "train", {"x": cached.images}, cached.names)
        test = folders.rows(folders.tested)
        val = test[:0] if folders.tested == "val" else folders.rows("val")
        parts = {"x": cached.images} | ({"label": folders.labels()} if self.labels else {})
        sets = make_sets(
            PartsSet("images", "train", parts, cached.names),
            test if len(test) else folders.test_share,
            val if len(val) else self.holdout,
            self.seed,
            f"{self.root}, training images",
            folders.rows("train"),
            folders.classes if self.labels else (),
        )
        for name, rows in folders.outliers().items():
            sets[name] = every.select(name, "outlier", rows)
        for name, source in self.outliers.items():
            if name in sets or name in ("samples", ""):
                raise InnflowError(f"data.outliers.{name}: there is a set of this name already")
            sets[name] = self._further(name, source)
        return sets

    def open_cache(self, verify: bool) -> Cached:
        """Open the cache of the root, decoding its images if need be."""
        storage = self._listed[0]
        stamps = [(entry.path, entry.size, entry.stamp) for entry in storage.entries]
        key = cache_key("images", storage.root, self.size, self.channels, stamps)
        cached = read_cache(self.cache_dir, key, verify)
        if cached is None:
            total = len(storage.entries)
            items = decode_all(storage, self.size, self.channels)
            cached = write_cache(self.cache_dir, key, items, total, self.root)
        if cached.skipped:
            counts = f"{len(cached.skipped):,} of {len(storage.entries):,}"
            names = name_first(cached.skipped)
            log.warning(
                "%s: skipped %s images that cannot be decoded: %s", self.root, counts, names
            )
        return cached

    @cached_property
    def _listed(self) -> tuple[Storage, Folders]:
        """The image files that are used and their folders, checked before any is decoded."""
        if Path(self.root).is_file():
            raise InnflowError(f"data.root={self.root} is a file: give a folder of images")
        storage = open_storage(self.root)
        paths = [entry.path for entry in storage.entries]
        folders = Folders(self.root, paths, self.inliers, self.labels)
        pairs = zip(storage.entries, folders.used, strict=True)
        return replace(storage, entries=[entry for entry, used in pairs if used]), folders

    def _further(self, name: str, source: str | os.PathLike[str]) -> PartsSet:
        """Return another source as an outlier set: its test split if it has train/, else all."""
        other = Images(source, self.size, self.channels, cache_dir=self.cache_dir, seed=self.seed)
        cached = other.open_cache(verify=False)
        if any(path.startswith("train/") for path in cached.names):
            held = other.load_sets()["test"]
            return PartsSet(name, "outlier", held.parts, held.names)
        return PartsSet(name, "outlier", {"x": cached.images}, cached.names)
