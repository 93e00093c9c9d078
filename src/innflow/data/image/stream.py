"""Batches of images streamed from shards by each rank and worker, in a reproducible order.

The order of an epoch is a function of the seed, the epoch and the readers, so the position in an
epoch is one number, and a resumed run continues with the batch after its last.
"""

import logging
import random
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, cycle, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from innflow.data.image.cache import stop_if_too_many
from innflow.data.image.decode import decode
from innflow.data.image.patterns import Shard, library
from innflow.data.image.tar import Item, read_items
from innflow.data.sets import Batch
from innflow.errors import InnflowError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How items of shards become pixels and labels; the attributes are those of `Shards`."""

    size: int
    channels: int
    image: str | None
    label: str | None
    classes: Sequence[str]

    def items(self, shard: Shard) -> Iterator[Item]:
        """Yield the items of a shard."""
        return read_items(shard, self.image, self.label)

    def pixels(self, item: Item) -> np.ndarray | str:
        """Return an image as uint8 (C, size, size), or the reason why there are no pixels."""
        try:
            return decode(item.data, self.size, self.channels)
        except ValueError as error:
            return str(error)

    def number(self, label: str | None, name: str) -> int:
        """Return the class that a label names, by its name or its number; an error if none."""
        if label in self.classes:
            return self.classes.index(label)
        if label is not None and label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        raise InnflowError(
            f"{name}: its {self.label} is {label}: expected a name in data.classes, or its number "
            f"below {len(self.classes)}"
        )


class Stream(IterableDataset[Batch]):
    """The batches of one rank in one epoch; each of W workers reads every W-th of them.

    Each epoch reassigns shards to the workers of all ranks. Every rank yields the same number of
    batches: a worker at the end of its shards starts them again.

    Args:
        shards: All shards, of all ranks.
        reading: How items become parts.
        share: Items in a batch of one rank.
        batches: Number of batches of every rank in an epoch.
        rank: Index of this rank, and number of ranks.
        held: Names of items that are left out.
        workers, buffer, seed: See `Shards`.

    Attributes:
        batch_size: Items in a batch of all ranks together.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        reading: Reading,
        share: int,
        batches: int,
        rank: tuple[int, int] = (0, 1),
        workers: int = 0,
        buffer: int = 1000,
        seed: int = 0,
        held: frozenset[str] = frozenset(),
    ) -> None:
        self.shards, self.reading = shards, reading
        self.share, self.batches = share, batches
        self.rank, self.ranks = rank
        self.batch_size = share * self.ranks
        self.workers = max(workers, 1)
        self.buffer, self.seed, self.held = buffer, seed, held
        readers = self.ranks * self.workers
        if len(shards) < readers:
            raise InnflowError(
                f"data.train: {len(shards)} shards are not enough for {self.ranks} ranks x "
                f"{self.workers} workers, each needs its own: lower data.workers or write more"
            )
        # Persistent workers read the next epoch from this shared tensor.
        self._position = torch.zeros(2, dtype=torch.long).share_memory_()

    def __len__(self) -> int:
        return self.batches

    def begin(self, epoch: int, skip: int) -> None:
        """Set the next epoch and how many of its batches to skip."""
        self._position.copy_(torch.tensor([epoch, skip]))

    def facts(self) -> dict[str, int]:
        """Return the settings on which the order depends."""
        names = " ".join(shard.name for shard in self.shards)
        return {
            "shards": zlib.crc32(names.encode()),
            "ranks": self.ranks,
            "workers": self.workers,
            "batch_size": self.batch_size,
            "buffer": self.buffer,
            "epoch_items": self.batches * self.batch_size,
            "held": zlib.crc32(" ".join(sorted(self.held)).encode()),
            "seed": self.seed,
        }

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of this process, or an InnflowError for the main process to raise."""
        info = get_worker_info()
        epoch, skip = self._position.tolist()
        # The loader takes batches from the workers in turn, beginning with the first of them.
        worker = 0 if info is None else (info.id + skip) % self.workers
        try:
            yield from self._batches(epoch, skip, worker)
        except InnflowError as error:
            yield error  # raised in a worker, it would reach the user as a long traceback

    def _batches(self, epoch: int, skip: int, worker: int) -> Iterator[Batch]:
        numbers = range(worker, self.batches, self.workers)
        items = self._items(epoch, self.rank * self.workers + worker)
        undecoded: list[str] = []
        done = sum(number < skip for number in numbers)
        deque(islice(items, done * self.share), maxlen=0)  # read, and not decoded
        for _ in numbers[done:]:
            yield self._decode(list(islice(items, self.share)), undecoded)
            stop_if_too_many(undecoded, len(numbers) * self.share, "data.train")

    def _items(self, epoch: int, reader: int) -> Iterator[Item]:
        """Yield the items of one reader without end, in another order on every pass."""
        order = list(self.shards)
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        own = order[reader :: self.ranks * self.workers]
        shuffle = library("webdataset").filters.shuffle
        for turn in count():
            rng = random.Random(f"{self.seed}/{epoch}/{reader}/{turn}")
            rng.shuffle(own)
            items = chain.from_iterable(map(self.reading.items, own))
            kept = (item for item in items if item.name not in self.held)
            empty = True
            for item in shuffle(self.buffer, initial=self.buffer, rng=rng)(kept):
                empty = False
                yield item
            if empty:
                raise InnflowError(
                    f"{own[0].path}: all its images are held out: lower data.holdout or "
                    "data.workers"
                )

    def _decode(self, items: Sequence[Item], skipped: list[str]) -> Batch:
        """Decode a batch; undecodable images are replaced by other images of the same batch."""
        decoded = [self.reading.pixels(item) for item in items]
        good = []
        for row, (item, image) in enumerate(zip(items, decoded, strict=True)):
            if isinstance(image, str):
                skipped.append(f"{item.name}: {image}")
                log.warning("left out %s", skipped[-1])
            else:
                good.append(row)
        if not good:
            raise InnflowError(f"data.train: no image of a batch can be decoded ({skipped[-1]})")
        rows = list(islice(cycle(good), len(items)))
        batch = {"x": torch.from_numpy(np.stack([decoded[row] for row in rows]))}
        if self.reading.label is not None:
            labels = [self.reading.number(items[row].label, items[row].name) for row in rows]
            batch["label"] = torch.tensor(labels)
        return batch
