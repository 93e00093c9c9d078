"""Searches before training, by Lightning's own finders, that say what they found."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder

from innflow.errors import InnflowError
from innflow.system.progress import announce


class FindLearningRate(LearningRateFinder):
    """Raise the learning rate step by step and train with the one where the loss falls fastest.

    The whole range is looked at: Lightning's early stop compares multiples of the loss, and a
    negative log-likelihood may be negative.

    Args:
        min_lr: first rate.
        max_lr: last rate; above it flows seldom train.
        num_training_steps: number of rates between them.
    """

    def __init__(
        self, min_lr: float = 1e-6, max_lr: float = 3e-2, num_training_steps: int = 100
    ) -> None:
        super().__init__(min_lr, max_lr, num_training_steps, early_stop_threshold=None)
        self._resumed = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Search, unless a resumed run has its rate from its optimizer."""
        if not self._resumed:
            super().on_fit_start(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note that a run goes on; a search itself goes back to a checkpoint of no steps."""
        self._resumed = checkpoint["global_step"] > 0

    def lr_find(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Search, and say what was found."""
        super().lr_find(trainer, pl_module)
        if self.optimal_lr is None or self.optimal_lr.suggestion() is None:
            raise InnflowError(
                "extra=find_lr: too few batches for a range test: raise trainer.max_epochs or "
                "lower data.batch_size"
            )
        announce(f"optimizer.lr={pl_module.lr:.2e}, found by a range test")


class FindBatchSize(BatchSizeFinder):
    """Double the batch until it does not fit, and train with the largest that did.

    Args:
        init_val: size to begin with.
        max_val: largest that is tried; never more than there are training items.
        steps_per_trial: steps of each.
    """

    def __init__(self, init_val: int = 16, max_val: int = 4096, steps_per_trial: int = 3) -> None:
        super().__init__("power", steps_per_trial, init_val, max_val=2 * max_val)
        self.largest = max_val
        self._resumed = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Search, unless a resumed run has brought what was found."""
        if not self._resumed:
            super().on_fit_start(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what was found."""
        checkpoint["batch_size"] = trainer.datamodule.batch_size  # type: ignore[attr-defined]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take what was found."""
        self._resumed = checkpoint["global_step"] > 0
        if self._resumed:
            trainer.datamodule.batch_size = checkpoint["batch_size"]  # type: ignore[attr-defined]

    def scale_batch_size(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Search, and say what was found."""
        items = len(trainer.datamodule.sets()["train"])  # type: ignore[attr-defined]
        largest = min(self.largest, items)
        if self._init_val > largest:
            raise InnflowError(
                f"extra=find_batch_size: callbacks.find_batch_size.init_val={self._init_val} is "
                f"more than {largest}, the largest of {items} training items and max_val"
            )
        # Lightning stops at max_val without a trial of it: the number of trials sets the end here.
        self._max_trials = int(math.log2(largest / self._init_val)) + 1
        super().scale_batch_size(trainer, pl_module)
        announce(f"data.batch_size={self.optimal_batch_size}, the largest that fits")
