"""Batches of a set in a reproducible shuffled order that a checkpoint can resume.

The order is a function of the seed and the epoch alone. A resumed run therefore continues with the
batch after its last one, and the same items share a batch on any number of ranks.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from innflow.data.sets import Batch
from innflow.errors import InnflowError
from innflow.system.progress import announce


class EpochOrder(Protocol):
    """An order of batches, of `batch_size` items of all ranks together, within an epoch."""

    batch_size: int

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def begin(self, epoch: int, skip: int) -> None:
        """Set the next epoch and how many of its batches to skip."""

    def facts(self) -> dict[str, int]:
        """Return the settings on which the order depends."""


class ShuffledBatches:
    """The rows of each batch of one rank, as a batch sampler.

    Args:
        items: Number of items.
        batch_size: Items in a batch of all ranks; an incomplete last batch is dropped.
        rank: Index of this rank, and number of ranks.
        seed: Of the order.
        shuffle: False leaves the items in their own order.
        general: Number of items of a general set, of which each row is paired with a random one;
            0 for none.
    """

    def __init__(
        self,
        items: int,
        batch_size: int,
        rank: tuple[int, int],
        seed: int,
        shuffle: bool = True,
        general: int = 0,
    ) -> None:
        self.items, self.batch_size, self.seed = items, batch_size, seed
        self.shuffle, self.general = shuffle, general
        self.rank, self.ranks = rank
        self.epoch, self.skip = 0, 0

    def __len__(self) -> int:
        return self.items // self.batch_size

    def begin(self, epoch: int, skip: int) -> None:
        """Set the next epoch and how many of its batches to skip."""
        self.epoch, self.skip = epoch, skip

    def facts(self) -> dict[str, int]:
        """Return the settings on which the order depends."""
        return {"items": self.items, "batch_size": self.batch_size, "seed": self.seed}

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the rows of each batch, or pairs of a row and a row of the general set."""
        number = int(np.random.SeedSequence([self.seed, self.epoch, 1]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(number)
        rows = torch.randperm(self.items, generator=generator)
        if not self.shuffle:
            rows = torch.arange(self.items)
        others = torch.randint(max(self.general, 1), (self.items,), generator=generator)
        share = self.batch_size // self.ranks
        for index in range(self.skip, len(self)):
            first = index * self.batch_size + self.rank * share
            mine = rows[first : first + share].tolist()
            paired = others[first : first + share].tolist()
            yield list(zip(mine, paired, strict=True)) if self.general else mine


class EpochLoader:
    """The batches of an order, epoch after epoch, resumable in the middle of an epoch.

    Lightning saves its state in every checkpoint and loads it before the first batch of a resumed
    run. Each `iter()` restarts the epoch, or after a resume its remaining part.
    """

    def __init__(self, loader: DataLoader[Batch], order: EpochOrder) -> None:
        self.loader, self.order = loader, order
        self.sampler = self  # where Lightning looks for `set_epoch`
        self.epoch = 0
        self._resumed = (0, 0)
        self._done = 0

    def __len__(self) -> int:
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the remaining batches of the epoch.

        Must be a generator: Lightning creates its iterator while the initialisation batch is still
        unread, and persistent workers serve one iterator at a time.
        """
        self._done = self._resumed[1] if self.epoch == self._resumed[0] else 0
        self.order.begin(self.epoch, self._done)
        for batch in self.loader:
            if isinstance(batch, InnflowError):  # from a worker process
                raise batch
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position in items of all ranks, and all that the order depends on."""
        items = self._done * self.order.batch_size
        return {"epoch": self.epoch, "items": items, "order": self.order.facts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the items already used; tell the user where the order has changed."""
        self.epoch = state["epoch"]
        self._resumed = (self.epoch, state["items"] // self.order.batch_size)
        facts = self.order.facts()
        changed = [name for name in facts if facts[name] != state["order"].get(name)]
        if changed and state["items"]:
            announce(
                f"data: {', '.join(changed)} changed since the checkpoint, so the rest of epoch "
                f"{self.epoch} may repeat some of its {state['items']:,} items and leave out others"
            )
