"""Images in sharded tars, for sets that fit neither in memory nor in a cache."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch

from innflow.data.base import check_whole
from innflow.data.image import cache
from innflow.data.image.copies import NearCopies
from innflow.data.image.images import DEFAULT_CACHE, ImageModule
from innflow.data.image.patterns import SIZES, Patterns, Shard, count_items, find_shards
from innflow.data.image.storage import map_threads
from innflow.data.image.stream import Reading, Stream
from innflow.data.image.tar import Item
from innflow.data.loader import EpochLoader
from innflow.data.sets import PartsSet, make_sets
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_text
from innflow.system.progress import track

log = logging.getLogger(__name__)

_INLIERS = ("train", "val", "test")


class Shards(ImageModule):
    """Images in shards, tars in webdataset's layout, on disk or in a bucket.

    Training batches are streamed. Only the first `study_items` training images are kept: they are
    the set "train" of the analyses and, without shards of its own, the set "val". They and the
    other sets are decoded once into the cache.

    >>> Shards(train="shards/train-*.tar", test="shards/test-*.tar", size=32).shape
    (3, 32, 32)

    Args:
        train: Shards to train on, one pattern or several, with braces or wildcards.
        test: Shards of the set "test".
        val: Shards of the set "val"; null holds it out of the study items.
        outliers: Name -> shards of a set of outliers.
        image: Extension of the images inside, such as jpg or input.png; null for any known one.
        label: Where the class is: `cls`, or `json.FIELD`; null without labels.
        classes: Names of the classes, in the order of their numbers; with `label` only.
        epoch_items: Items of an epoch over all ranks, of which whole batches are made; null for all
            by the file sizes.json in their folder.
        study_items: Number of training items that analyses and the set "val" are taken from.
        holdout: Fraction of the study items that becomes the set "val"; training leaves it out.
        buffer: Image files that a worker keeps in memory, to draw one at random.
        workers: Processes of each rank that read and decode; each needs a shard of its own.
        near_copies: See `ImageModule`; looked for among the study items only, not in the stream.
        size, channels, batch_size, augment, cache_dir, seed: See `ImageModule`.
    """

    def __init__(
        self,
        train: Patterns,
        test: Patterns,
        val: Patterns | None = None,
        outliers: Mapping[str, Patterns] | None = None,
        image: str | None = None,
        label: str | None = None,
        classes: Sequence[str] | None = None,
        size: int = 32,
        channels: int = 3,
        batch_size: int = 64,
        epoch_items: int | None = None,
        study_items: int = 10_000,
        holdout: float = 0.05,
        buffer: int = 1000,
        augment: Sequence[str] | Mapping[str, float] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 2,
        seed: int = 0,
        near_copies: NearCopies = "leave_out",
    ) -> None:
        common = (batch_size, holdout, augment, cache_dir, workers, seed, None, near_copies)
        super().__init__(size, channels, *common)
        self.source = "data.train"
        self.patterns = {"train": train, "test": test}
        if val is not None:
            self.patterns["val"] = val
        for name, patterns in (outliers or {}).items():
            if name in (*_INLIERS, "samples", ""):
                raise InnflowError(f"data.outliers.{name}: there is a set of this name already")
            self.patterns[name] = patterns
        if label is not None and label != "cls" and not label.startswith("json."):
            raise InnflowError(f"data.label={label} is not known: give cls or json.FIELD")
        if (label is None) != (classes is None) or (classes is not None and len(classes) < 2):
            raise InnflowError(
                f"data.classes={classes}: with data.label give the names of two classes or more in "
                "the order of their numbers, and null without"
            )
        self._classes = [str(name) for name in classes or ()]
        self.reading = Reading(size, channels, image, label, tuple(self._classes))
        self.epoch_items = (
            None if epoch_items is None else check_whole("epoch_items", epoch_items, 1)
        )
        self.study_items = check_whole("study_items", study_items, 2)
        self.buffer = check_whole("buffer", buffer, 1)

    @cached_property
    def shards(self) -> dict[str, list[Shard]]:
        """The shards of every set."""
        found: dict[str, list[Shard]] = {}
        owner: dict[str, str] = {}
        for name, patterns in self.patterns.items():
            key = name if name in _INLIERS else f"outliers.{name}"
            found[name] = find_shards(patterns, key)
            for shard in found[name]:
                other = owner.setdefault(shard.path, key)
                if other != key:
                    raise InnflowError(f"data.{key}: {shard.path} is in data.{other} too")
        return found

    def prepare_data(self) -> None:
        """Decode all that is not streamed into the cache, unless it is there."""
        for name in self.shards:
            self._open(name, verify=True)

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets, from the cache."""
        found: dict[str, PartsSet] = {}
        for name in self.shards:
            cached, labels = self._open(name, verify=False)
            parts = {"x": cached.images}
            if self._reading(name).label is not None:
                named = zip(labels, cached.names, strict=True)
                parts["label"] = torch.tensor([self.reading.number(*pair) for pair in named])
            found[name] = PartsSet(name, "outlier", parts, cached.names)
        val = found.pop("val") if "val" in found else self.holdout
        of = "data.train, items to study"
        sets = make_sets(found.pop("train"), found.pop("test"), val, self.seed, of)
        return sets | found

    def train_dataloader(self) -> EpochLoader:
        """Return the loader of this rank's batches, streamed from its shards."""
        study, _ = self._open("train", verify=False)
        held = frozenset(study.names) - frozenset(self.sets()["train"].names)
        total = self._count(len(held)) if self.epoch_items is None else self.epoch_items
        batches = total // self.batch_size
        if not batches:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is more than the {total:,} items of an epoch: "
                "lower it, raise data.epoch_items, or add data"
            )
        shards, size = self.shards["train"], self.rank_batch_size
        order = (self.rank, self.workers, self.buffer, self.seed, held)
        stream = Stream(shards, self.reading, size, batches, *order)
        return EpochLoader(self.make_loader(stream), stream)

    def _count(self, held: int) -> int:
        """Return the number of items that all training shards together have to train on."""
        total = count_items(self.shards["train"])
        if total is None:
            raise InnflowError(
                f"data.epoch_items is null, and there is no {SIZES} next to the shards of "
                "data.train that says how many items they hold: give the number of items of an "
                "epoch"
            )
        return total - held

    def _open(self, name: str, verify: bool) -> tuple[cache.Cached, list[str | None]]:
        """Open the cache of a set, and the label of each item as text; decode them if need be."""
        shards = self.shards[name]
        limit = self.study_items if name == "train" else None
        reading = self._reading(name)
        facts = {**asdict(reading), "classes": None}  # their names change neither pixels nor text
        key = cache.cache_key("shards", [asdict(shard) for shard in shards], limit, facts)
        path = self.cache_dir / f"{key}.labels.json"
        cached = cache.read_cache(self.cache_dir, key, verify) if path.is_file() else None
        if cached is None:
            known: dict[str, str | None] = {}
            found = islice(chain.from_iterable(map(reading.items, shards)), limit)
            items = track(self._decode(found, known), f"decoding {name}", limit)
            # Their number is known only at the end, and so is whether too many are damaged.
            cached = cache.write_cache(self.cache_dir, key, items, sys.maxsize, f"data.{name}")
            write_text(path, json.dumps([known[item] for item in cached.names]))
        if cached.skipped:
            total = len(cached.names) + len(cached.skipped)
            cache.stop_if_too_many(cached.skipped, total, f"data.{name}")
            log.warning("data.%s: skipped %s", name, cache.name_first(cached.skipped))
        return cached, json.loads(path.read_text())

    def _reading(self, name: str) -> Reading:
        """Return how a set is read: outliers have no labels."""
        return self.reading if name in _INLIERS else replace(self.reading, label=None)

    def _decode(
        self, items: Iterable[Item], labels: dict[str, str | None]
    ) -> Iterator[tuple[str, np.ndarray | str]]:
        """Yield the name and the pixels of items, or the reason without; collect their labels."""

        def load(item: Item) -> tuple[Item, np.ndarray | str]:
            return item, self.reading.pixels(item)

        for item, pixels in map_threads(load, items, os.cpu_count() or 1):
            if item.name in labels:
                raise InnflowError(f"{item.name}: there are two of this name; rename a shard")
            labels[item.name] = item.label
            yield item.name, pixels
