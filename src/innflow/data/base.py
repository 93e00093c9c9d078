"""Sets of named parts, and the data module that serves them in batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from innflow.errors import InnflowError

Role = Literal["train", "monitor", "inlier", "outlier"]
Batch = dict[str, Tensor]


class PartsSet(Dataset[Batch]):
    """A whole set as arrays keyed by part names, read a batch at a time.

    Args:
        name: "train", "monitor", "val", or the name of an outlier set.
        role: What the set may be used for.
        whole: Arrays of equal first axis, perhaps memory-mapped, perhaps shared with other sets.
        names: One name per item of this set.
        rows: The items of `whole` that belong to this set; all of them by default.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        whole: Mapping[str, Tensor],
        names: Sequence[str],
        rows: Tensor | None = None,
    ) -> None:
        self.name = name
        self.role: Role = role
        self.names = names
        self._whole = dict(whole)
        self._rows = rows
        lengths = {len(part) for part in whole.values()} if rows is None else {len(rows)}
        if lengths != {len(names)}:
            raise ValueError(f"set {name}: {len(names)} names for parts of length {lengths}")

    @cached_property
    def parts(self) -> Batch:
        """The arrays of this set, first axis N; gathered once if the set is a part of a whole."""
        if self._rows is None:
            return self._whole
        return {key: part[self._rows] for key, part in self._whole.items()}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Batch:
        row = index if self._rows is None else self._rows[index]
        return {key: part[row] for key, part in self._whole.items()}

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return a batch of items, (B, ...) each, by one gather."""
        rows = torch.as_tensor(indices)
        if self._rows is not None:
            rows = self._rows[rows]
        return {key: part[rows] for key, part in self._whole.items()}

    def __repr__(self) -> str:
        whole = self._whole.items()
        shapes = ", ".join(f"{key} {tuple(part.shape[1:])} {part.dtype}" for key, part in whole)
        return f"PartsSet({self.name}, {self.role}, {len(self):,} items: {shapes})"


class PartsDataModule(LightningDataModule):
    """Serves the sets "train", "monitor", "val" and any outliers as batches keyed by part names.

    A subclass sets `shape` in its constructor and returns its sets from `load_sets`. One whose
    exact density is known also sets `log_prob`. One that knows the classes of its items gives
    their names as `classes` and puts their labels, int64 (N,), beside x as the part "label"; only
    sets of outliers have none.

    Args:
        shape: Of the part x, known before any data are touched.
        batch_size: Over all ranks together: each takes its equal share.
        holdout: Fraction of the training items kept out of training as the set "monitor".
        workers: Processes that read ahead; a batch is one gather, so 0 is mostly fastest.
        seed: Of the split into train and monitor.
    """

    drawn: bool = False
    levels: int = 256
    """Number of grey levels of x, where x is an image: its pixels are 0 to levels - 1."""

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
        """Return the sets by name: "train", "monitor", "val", then the outliers."""

    def augment(self, x: Tensor) -> Tensor:
        """Return a random variation of every item of x (B, ...); by default x itself."""
        return x

    def setup(self, stage: str | None = None) -> None:
        """Open the sets, once."""
        if not self._sets:
            self._sets = self.load_sets()

    def sets(self) -> dict[str, PartsSet]:
        """Return all sets by name."""
        self.setup()
        return self._sets

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled whole batches of the training items."""
        return self._loader(self.sets()["train"], train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the monitor set, that is held out of the training items."""
        return self._loader(self.sets()["monitor"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the inlier test set, on which nothing is ever chosen."""
        return self._loader(self.sets()["val"])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment the whole batch where it now lies, in training only."""
        if self.trainer is not None and self.trainer.training:
            batch["x"] = self.augment(batch["x"])
        return batch

    def _loader(self, items: PartsSet, train: bool = False) -> DataLoader[Batch]:
        world = self.trainer.world_size if self.trainer is not None else 1
        if self.batch_size % world:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is not divisible by {world} ranks: "
                f"give a multiple of {world}"
            )
        if train and len(items) < self.batch_size:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is more than the {len(items)} training items: "
                "lower it, or add data"
            )
        return DataLoader(
            items,
            batch_size=self.batch_size // world,
            shuffle=train,
            drop_last=train,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


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
