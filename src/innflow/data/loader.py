"""Shuffled batches of a set, in an order that repeats: where an epoch has come to is one number.

The order is a function of the seed and the epoch alone. So a run that was cut off goes on with the
batch after its last, and with any number of ranks the same items are together in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from innflow.data.sets import Batch
from innflow.system.progress import announce


class Order:
    """The rows of each batch of one rank, in an epoch.

    Args:
        count: Number of items.
        batch: Items in a batch of all ranks; what is left over at the end of an epoch is dropped.
        rank: Which rank this is, and of how many.
        seed: Of the order.
        shuffle: Or the items as they lie.
        beside: Number of items of another set, of which each row gets one at random; 0 for none.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        rank: tuple[int, int],
        seed: int,
        shuffle: bool = True,
        beside: int = 0,
    ) -> None:
        self.count, self.batch, self.seed, self.shuffle = count, batch, seed, shuffle
        self.beside = beside
        self.rank, self.ranks = rank
        self.epoch = 0
        self.seen = 0
        """Batches of the epoch that are left out."""

    def __len__(self) -> int:
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the rows of every batch that is not yet seen, or pairs of them."""
        number = int(np.random.SeedSequence([self.seed, self.epoch, 1]).generate_state(1)[0])
        draw = torch.Generator().manual_seed(number)
        rows = torch.randperm(self.count, generator=draw)
        if not self.shuffle:
            rows = torch.arange(self.count)
        others = torch.randint(self.beside, (self.count,), generator=draw) if self.beside else None
        share = self.batch // self.ranks
        for turn in range(self.seen, len(self)):
            first = turn * self.batch + self.rank * share
            here = slice(first, first + share)
            mine = rows[here].tolist()
            yield mine if others is None else list(zip(mine, others[here].tolist(), strict=True))


class EpochLoader:
    """The batches of an order, epoch after epoch, from where a checkpoint says that it came to.

    Lightning asks for its state at every checkpoint and gives it back before the first batch of a
    resumed run. A new iteration begins the epoch, or its rest, again.

    Args:
        items: What is served.
        order: Its rows, batch by batch.
        options: Of the `DataLoader` that reads them.
    """

    def __init__(self, items: Dataset[Batch], order: Order, **options: Any) -> None:
        self.order = order
        self.sampler = self  # where Lightning looks for `set_epoch`
        self.epoch = 0
        self.loader: DataLoader[Batch] = DataLoader(items, batch_sampler=order, **options)
        self._resumed = (0, 0)
        self._seen = 0

    def __len__(self) -> int:
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch that are not yet seen.

        A generator: persistent workers serve one iteration at a time, and Lightning begins its own
        before the flow has looked at a first batch.
        """
        seen = self._resumed[1] if self.epoch == self._resumed[0] else 0
        self.order.epoch, self.order.seen, self._seen = self.epoch, seen, seen
        for batch in self.loader:
            self._seen += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch is, in items of all ranks, and what its order depends on."""
        facts = {name: getattr(self.order, name) for name in ("count", "batch", "seed")}
        return {"epoch": self.epoch, "items": self._seen * self.order.batch, "order": facts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the items that were seen; say so if others are in their place now."""
        self.epoch = state["epoch"]
        self._resumed = (self.epoch, state["items"] // self.order.batch)
        if state["items"] and state["order"] != self.state_dict()["order"]:
            announce(
                "data: the items or their order changed since the checkpoint, so the rest of epoch "
                f"{self.epoch} may repeat some of its {state['items']:,} items and leave out others"
            )
