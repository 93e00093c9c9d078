"""The data module that all data modules derive from: sets of named parts, served in batches."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from innflow.data.general import PairedWithGeneral
from innflow.data.loader import EpochLoader, ShuffledBatches
from innflow.data.sets import Batch, PartsSet
from innflow.errors import InnflowError
from innflow.system.batch import GENERAL
from innflow.system.memory import require_memory
from innflow.system.ranks import shared_draws, shares


class PartsDataModule(LightningDataModule):
    """Serves the sets "train", "val", "test" and any outliers as batches keyed by part names.

    A subclass passes `shape` to the constructor and returns its sets from `load_sets`. Where items
    have classes, it returns their names as `classes` and their labels, int64 (N,), as the part
    "label" of every set but those of outliers.

    Args:
        shape: Of the part x, known before any data are read.
        batch_size: Over all ranks together: each takes its equal share.
        holdout: Fraction of the training items that becomes the set "val".
        workers: Processes that read ahead; a batch is one gather, so 0 is mostly fastest.
        seed: Of the split into train and val.

    Attributes:
        drawn: Whether the images are synthetic.
        levels: Number of grey levels of images x, whose pixels are 0 to levels - 1.
        log_prob: The exact log density in nats (B,) of x (B, D), where it is known.
    """

    drawn: bool = False
    levels: int = 256
    log_prob: Callable[[Tensor], Tensor] | None = None

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

    def check_memory(self, **counts: int) -> None:
        """Refuse numbers of items, by their keys, whose parts x in float32 exceed the memory."""
        for key, count in counts.items():
            require_memory(f"data.{key}={count}", 4 * count * math.prod(self.shape))

    @abstractmethod
    def load_sets(self) -> dict[str, PartsSet]:
        """Return the sets by name: "train", "val", "test", then the outliers."""

    def load_general(self) -> PartsSet | None:
        """Return a more general set to contrast the training items with; None by default."""
        return None

    def augment(self, x: Tensor) -> Tensor:
        """Return a random variation of every item of x (B, ...); by default x itself."""
        return x

    def state(self) -> dict[str, np.ndarray]:
        """Return what the data depend on besides the config, as arrays; nothing by default."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned; data without a state ignore it."""

    def use_columns(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Take x from the columns that a trained run names; data without columns ignore it."""

    @property
    def classes(self) -> list[str]:
        """Name of each label, known before any data are decoded; empty without labels."""
        return self._classes

    @property
    def columns(self) -> dict[str, list[str]]:
        """Names of the features of vector parts, and of the classes under "label"."""
        return {"label": self.classes} if self.classes else {}

    @property
    def deterministic(self) -> bool:
        """Whether the data come from a forward model without noise."""
        return False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every part, known before any data are read."""
        return {"x": self.shape}

    @property
    def general_set(self) -> PartsSet | None:
        """The general set, whose items are the part "general" of training batches, if any."""
        self.setup()
        return self._general

    def setup(self, stage: str | None = None) -> None:
        """Open the sets, once."""
        if not self._sets:
            self._sets, self._general = self.load_sets(), self.load_general()

    def sets(self) -> dict[str, PartsSet]:
        """Return all sets by name."""
        self.setup()
        return self._sets

    def train_dataloader(self) -> EpochLoader:
        """Return the loader of the set "train": shuffled, without an incomplete last batch."""
        items = self.sets()["train"]
        if len(items) < self.batch_size:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is more than the {len(items)} training items: "
                "lower it, or add data"
            )
        served: Dataset[Batch] = items
        general = 0
        if self._general is not None:
            served, general = PairedWithGeneral(items, self._general), len(self._general)
        batch_size = self.rank_batch_size * self.rank[1]
        shuffle = self.trainer is None or not self.trainer.overfit_batches  # type: ignore[attr-defined]
        order = ShuffledBatches(len(items), batch_size, self.rank, self.seed, shuffle, general)
        return EpochLoader(self.make_loader(served, order), order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the set "val", in order."""
        return self._in_order(self.sets()["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the inlier set "test", in order."""
        return self._in_order(self.sets()["test"])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch on its device."""
        if self.is_training:
            with self.shared_draws():
                batch |= {key: self.augment(batch[key]) for key in ("x", GENERAL) if key in batch}
        return batch

    @property
    def is_training(self) -> bool:
        """Whether a trainer is running its training loop."""
        return self.trainer is not None and bool(self.trainer.training)

    @property
    def rank(self) -> tuple[int, int]:
        """Index of this rank, and number of ranks."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    @property
    def rank_batch_size(self) -> int:
        """Number of items in a batch of one rank."""
        _, ranks = self.rank
        if self.batch_size % ranks:
            raise InnflowError(
                f"data.batch_size={self.batch_size} is not divisible by {ranks} ranks: "
                f"give a multiple of {ranks}"
            )
        return self.batch_size // ranks

    def shared_draws(self) -> AbstractContextManager[None]:
        """Return a context in which each rank draws its part of the noise of the whole batch."""
        return shared_draws(*self.rank)

    def _in_order(self, items: PartsSet) -> DataLoader[Batch]:
        return self.make_loader(items, shares(len(items), self.batch_size, *self.rank))

    def make_loader(self, items: Dataset[Batch], rows: Any = None) -> DataLoader[Batch]:
        """Return a loader of the batches of these rows; without rows, items are whole batches."""
        return DataLoader(
            items,
            batch_size=None if rows is None else 1,
            batch_sampler=rows,
            collate_fn=_identity,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own generator: otherwise it would draw from the one that noise is drawn from.
            generator=torch.Generator().manual_seed(self.seed),
        )


def _identity(batch: Any) -> Any:
    return batch


def is_number(value: Any, low: float, high: float = math.inf) -> bool:
    """Return whether a value is a finite number above `low` and at most `high`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and low < value <= high


def check_whole(name: str, value: Any, least: int) -> int:
    """Return an integer of at least `least`; an error names the key of the data."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InnflowError(f"data.{name}={value}: give an integer of at least {least}")
    return value


def check_fraction(name: str, value: Any) -> float:
    """Return a number strictly between 0 and 1; an error names the key of the data."""
    if not is_number(value, 0, 1) or value == 1:
        raise InnflowError(f"data.{name}={value}: give a fraction between 0 and 1")
    return float(value)


def check_choice(name: str, value: Any, known: Sequence[str]) -> str:
    """Return a value that is one of the known ones; an error lists them."""
    if value not in known:
        raise InnflowError(f"data.{name}={value} is not known: choose from {', '.join(known)}")
    return str(value)
