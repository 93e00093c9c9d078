"""Batches of images streamed from shards: each rank and worker its own, in an order that repeats.

The order of an epoch is a function of the seed, the epoch and the readers, so where an epoch has
come to is one number, and a run that was cut off goes on with the batch after its last.
"""

from __future__ import annotations

import logging
import random
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from innflow.data.image.cache import stop_if_too_many
from innflow.data.image.decode import decode
from innflow.data.sets import Batch
from innflow.data.image.shards import Item, Shard, library, read_items
from innflow.errors import InnflowError
from innflow.system.progress import announce

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How items of shards become pixels and labels.

    Attributes:
        size: Height and width in pixels.
        channels: 3 for colour, 1 for grey.
        image: Extension of the images; None for any known one.
        label: `cls`, or `json.FIELD`; None without labels.
        classes: Names of the labels.
    """

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
        """Return the class that a label names, by its name or its number.

        Raises:
            InnflowError: It names none.
        """
        if label in self.classes:
            return self.classes.index(label)
        if label is not None and label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        raise InnflowError(
            f"{name}: its {self.label} is {label}: expected a name in data.classes, or its number "
            f"below {len(self.classes)}"
        )


class Stream(IterableDataset[Batch]):
    """The batches of one rank in one epoch; of W workers each makes every W-th of them.

    Shards are dealt to the readers, the workers of all ranks, anew in every epoch. Every rank makes
    the same number of batches: a reader whose shards are used up begins them again.

    Args:
        shards: All shards, of all ranks.
        reading: How items become parts.
        batch: Items in a batch of one rank.
        batches: Number of batches of every rank in an epoch.
        rank: Which rank this is, and of how many.
        workers: Worker processes of each rank; 0 for this process itself.
        buffer: Items among which one is drawn at random; also kept in memory, as files.
        seed: Of the order.
        held: Names of items that are left out.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        reading: Reading,
        batch: int,
        batches: int,
        rank: tuple[int, int] = (0, 1),
        workers: int = 0,
        buffer: int = 1000,
        seed: int = 0,
        held: frozenset[str] = frozenset(),
    ) -> None:
        self.shards, self.reading = shards, reading
        self.batch, self.batches = batch, batches
        self.rank, self.ranks = rank
        self.workers, self.in_processes = max(workers, 1), workers > 0
        self.buffer, self.seed, self.held = buffer, seed, held
        readers = self.ranks * self.workers
        if len(shards) < readers:
            raise InnflowError(
                f"data.train: {len(shards)} shards are not enough for {self.ranks} ranks x "
                f"{self.workers} workers, each needs its own: lower data.workers or write more"
            )
        # Worker processes outlive an epoch; this memory is how they hear of the next.
        self.place = torch.zeros(2, dtype=torch.long).share_memory_()
        """The epoch, and how many of its batches are left out."""

    def order(self) -> dict[str, int]:
        """Return what the order of the items depends on."""
        names = " ".join(shard.name for shard in self.shards)
        return {
            "shards": zlib.crc32(names.encode()),
            "ranks": self.ranks,
            "workers": self.workers,
            "batch_size": self.batch * self.ranks,
            "buffer": self.buffer,
            "epoch_items": self.batches * self.batch * self.ranks,
            "held": zlib.crc32(" ".join(sorted(self.held)).encode()),
            "seed": self.seed,
        }

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches that fall to this process; an error of the user's is yielded too."""
        info = get_worker_info()
        epoch, seen = self.place.tolist()
        # Batches are taken from the workers in turn, beginning with the first of them.
        worker = 0 if info is None else (info.id + seen) % self.workers
        try:
            yield from self._batches(epoch, seen, worker)
        except InnflowError as error:
            yield error  # raised here, it would come out of the worker as a traceback of many lines

    def _batches(self, epoch: int, seen: int, worker: int) -> Iterator[Batch]:
        numbers = range(worker, self.batches, self.workers)
        share = len(numbers) * self.batch
        items = self._items(epoch, self.rank * self.workers + worker)
        skipped: list[str] = []
        behind = sum(number < seen for number in numbers)
        deque(islice(items, behind * self.batch), maxlen=0)  # read over, and not decoded
        for _ in numbers[behind:]:
            yield self._decode(list(islice(items, self.batch)), skipped)
            stop_if_too_many(skipped, share, "data.train")

    def _items(self, epoch: int, reader: int) -> Iterator[Item]:
        """Yield the items of one reader without end, each time through in another order."""
        order = list(self.shards)
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        own = order[reader :: self.ranks * self.workers]
        shuffle = library("webdataset").filters.shuffle
        turn = 0
        while True:
            rng = random.Random(f"{self.seed}/{epoch}/{reader}/{turn}")
            rng.shuffle(own)
            kept = (
                item
                for shard in own
                for item in self.reading.items(shard)
                if item.name not in self.held
            )
            empty = True
            for item in shuffle(self.buffer, initial=self.buffer, rng=rng)(kept):
                empty = False
                yield item
            if empty:
                raise InnflowError(
                    f"{own[0].url}: all its images are held out: lower data.holdout or data.workers"
                )
            turn += 1

    def _decode(self, items: Sequence[Item], skipped: list[str]) -> Batch:
        """Return a whole batch; the place of an image without pixels is taken by another of it."""
        decoded = [self.reading.pixels(item) for item in items]
        good = [row for row, image in enumerate(decoded) if not isinstance(image, str)]
        for item, image in zip(items, decoded, strict=True):
            if isinstance(image, str):
                skipped.append(f"{item.name}: {image}")
                log.warning("left out %s", skipped[-1])
        if not good:
            raise InnflowError(f"data.train: no image of a whole batch has pixels ({skipped[-1]})")
        bad = len(items) - len(good)
        rows = good + [good[row % len(good)] for row in range(bad)]
        batch = {"x": torch.from_numpy(np.stack([decoded[row] for row in rows]))}
        if self.reading.label is not None:
            labels = [self.reading.number(items[row].label, items[row].name) for row in rows]
            batch["label"] = torch.tensor(labels)
        return batch


class StreamLoader:
    """The batches of a stream, epoch after epoch, from where a checkpoint says that it came to.

    Lightning asks for its state at every checkpoint and gives it back before the first batch of a
    resumed run. A new iteration begins the epoch, or its rest, again.

    Args:
        stream: The batches of this rank.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.sampler = self  # where Lightning looks for `set_epoch`
        self.epoch = 0
        self._resumed = (0, 0)
        self._seen = 0
        self._loader = DataLoader(
            stream,
            batch_size=None,  # they come as batches
            num_workers=stream.workers if stream.in_processes else 0,
            persistent_workers=stream.in_processes,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return self.stream.batches

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch that are not yet seen.

        A generator: until its first batch it leaves the workers to whoever iterates at the time.
        """
        seen = self._resumed[1] if self.epoch == self._resumed[0] else 0
        self._seen = seen
        self.stream.place.copy_(torch.tensor([self.epoch, seen]))
        for batch in self._loader:
            if isinstance(batch, InnflowError):
                raise batch
            self._seen += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch is, in items of all ranks, and what its order depends on."""
        items = self._seen * self.stream.batch * self.stream.ranks
        return {"epoch": self.epoch, "items": items, "order": self.stream.order()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the items that were seen; say so if others are in their place now."""
        seen, now = state["order"], self.stream.order()
        changed = [name for name in now if now[name] != seen.get(name)]
        batch = self.stream.batch * self.stream.ranks
        self.epoch, self._resumed = state["epoch"], (state["epoch"], state["items"] // batch)
        if changed and state["items"]:
            announce(
                f"data: {', '.join(changed)} changed since the checkpoint, so the rest of epoch "
                f"{self.epoch} may repeat some of its {state['items']:,} items and leave out others"
            )
