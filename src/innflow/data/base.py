"""The data module that serves sets of named parts in batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from innflow.data.loader import (EpochLoader, Order)
from innflow.data.image.general import (Beside, check_disjoint)
from innflow.data.sets import GENERAL, Batch, PartsSet
from innflow.errors import InnflowError
from innflow.system.ranks import (drawn_together, shares)


class PartsDataModule(LightningDataModule):
    """Serves the sets "train", "val", "test" and any outliers as batches keyed by part names.

    A subclass sets `shape` in its constructor and returns its sets from `load_sets`. One whose
    exact density is known also sets `log_prob`. One that knows the classes of its items gives
    their names as `classes` and puts their labels, int64 (N,), beside x as the part "label"; only
    sets of outliers have none.

    Args:
        shape: Of the part x, known before any data are touched.
        batch_size: Over all ranks together: each takes its equal share.
        holdout: Fraction of the training items kept out of training as the set "val".
        workers: Processes that read ahead; a batch is one gather, so 0 is mostly fastest.
        seed: Of the split into train and val.
    """

    drawn: bool = False
    levels: int = 256
    """Number of grey levels of x, where x is an image: its pixels are 0 to levels - 1."""
    log_prob: Callable[[Tensor], Tensor] | None = None
    """Exact log density in nats (B,) of data (B, *shape), where it is known."""

    def __init__(
        self,
        shape: tuple[int, ...],
        batch_size: int = 64,
        holdout: float = 0.05,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.batch_size = check_whole("batch_size", batch_size, 1)
        self.holdout = check_fraction("holdout", holdout)
        self.workers = check_whole("workers", workers, 0)
        self.seed = check_whole("seed", seed, 0)
        self._sets: dict[str, PartsSet] = {}
        self._general: PartsSet | None = None
        self._classes: list[str] = []

    @property
    def classes(self) -> list[str]:
        """Name of each label, known before any data are decoded; empty where there are none."""
        return self._classes

    @property
    def columns(self) -> dict[str, list[str]]:
        """Names of the features of vector parts, and of the classes under "label"."""
        return {"label": self.classes} if self.classes else {}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every part, known before any data are touched."""
        return {"x": self.shape}

    @abstractmethod
    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets by name: "train", "val", "test", then the outliers."""

    def load_general(self) -> PartsSet | None:
        """Return a more general set to tell the training items from; by default there is none."""
        return None

    def augment(self, x: Tensor) -> Tensor:
        """Return a random variation of every item of x (B, ...); by default x itself."""
        return x

    def setup(self, stage: str | None = None) -> None:
        """Open the sets, once."""
        if self._sets:
            return
        sets, self._general = self.load_sets(), self.load_general()
        if self._general is not None:
            check_disjoint(self._general, sets, self._general.name)
        self._sets = sets

    @property
    def has_general(self) -> bool:
        """Whether training batches bring general items beside the inliers."""
        self.setup()
        return self._general is not None

    def sets(self) -> dict[str, PartsSet]:
        """Return all sets by name."""
        self.setup()
        return self._sets

    @property
    def rank(self) -> tuple[int, int]:
        """Which rank this is, and of how many."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    @property
    def rank_batch_size(self) -> int:
        """Number of items in a batch of one rank."""
        _, world = self.rank
        if self.batch_size % world:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is not divisible by {world} ranks: "
                f"give a multiple of {world}"
            )
        return self.batch_size // world

    def train_dataloader(self) -> Iterable[Batch]:
        """Return shuffled whole batches of the training items."""
        items = self.sets()["train"]
        share = self.rank_batch_size
        if len(items) < self.batch_size:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is more than the {len(items)} training items: "
                "lower it, or add data"
            )
        served: Dataset[Batch] = items
        beside = 0
        if self._general is not None:
            served, beside = Beside(items, self._general), len(self._general)
        shuffle = self.trainer is None or not self.trainer.overfit_batches  # type: ignore[attr-defined]
        order = Order(len(items), share * self.rank[1], self.rank, self.seed, shuffle, beside)
        return EpochLoader(served, order, **self._options())

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the val set, that is held out of the training items."""
        return self._loader(self.sets()["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the inlier test set, on which nothing is ever chosen."""
        return self._loader(self.sets()["test"])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment the whole batch where it now lies, in training only."""
        if self.trainer is None or not self.trainer.training:
            return batch
        with self.drawn_together(batch):
            batch |= {key: self.augment(batch[key]) for key in ("x", GENERAL) if key in batch}
        return batch

    def drawn_together(self, batch: Batch) -> AbstractContextManager[Any]:
        """Return a block in which noise for a batch of one rank is a part of that for all."""
        return drawn_together(len(batch["x"]), *self.rank)

    def _loader(self, items: PartsSet) -> DataLoader[Batch]:
        rows: Any = shares(len(items), self.batch_size, *self.rank)
        return DataLoader(items, batch_sampler=rows, **self._options())

    def _options(self) -> dict[str, Any]:
        """Return how a loader reads batches; it draws nothing from the stream that noise is of."""
        return {
            "collate_fn": _as_it_is,
            "num_workers": self.workers,
            "persistent_workers": self.workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "generator": torch.Generator().manual_seed(self.seed),
        }


def _as_it_is(batch: Any) -> Any:
    return batch


def split_holdout(count: int, fraction: float, seed: int, of: str) -> tuple[Tensor, Tensor]:
    """Return the sorted indices to keep and to hold out of `count` items, at least one of each.

    Args:
        count: Number of items.
        fraction: Of them to hold out.
        seed: Of the choice.
        of: What the items are, for the error when there are fewer than two.
    """
    if count < 2:
        raise InnflowError(f"{of}: {count} usable, at least 2 are needed to hold one out")
    held = min(max(round(fraction * count), 1), count - 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held:].sort().values, order[:held].sort().values


def split_stratified(
    labels: Tensor, classes: Sequence[str], fraction: float, seed: int, of: str
) -> tuple[Tensor, Tensor]:
    """Return the sorted indices to keep and to hold out, the same fraction of every class.

    Args:
        labels: (N,) class of each item, an index into `classes`.
        classes: Names of the classes, for the error when one has fewer than two items.
        fraction: Of each class to hold out.
        seed: Of the choice.
        of: What the items are, for the error.
    """
    kept, held = [], []
    for label, name in enumerate(classes):
        rows = (labels == label).nonzero()[:, 0]
        keep, hold = split_holdout(len(rows), fraction, seed, f"{of} of class {name}")
        kept.append(rows[keep])
        held.append(rows[hold])
    return torch.cat(kept).sort().values, torch.cat(held).sort().values


def check_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least `least`, or say which key of the data is wrong."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InnflowError(f"data.{name}={value}: give a whole number of at least {least}")
    return value


def check_fraction(name: str, value: Any) -> float:
    """Return a number strictly between 0 and 1, or say which key of the data is wrong."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value < 1:
        raise InnflowError(f"data.{name}={value}: give a fraction between 0 and 1")
    return float(value)


def check_choice(name: str, value: Any, known: Sequence[str]) -> str:
    """Return a value that is one of the known ones, or list them."""
    if value not in known:
        raise InnflowError(f"data.{name}={value} is not known: choose from {', '.join(known)}")
    return str(value)
