"""Searches for the learning rate and the batch size before training."""

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder

from innflow.errors import InnflowError
from innflow.system.progress import announce


class _NewRunsOnly(Callback):
    """A search before training, skipped in a resumed run."""

    resumed = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, unless a resumed run has the result from its checkpoint."""
        if not self.resumed:
            super().on_fit_start(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Recognise a resumed run: the checkpoint that a search restores has step 0."""
        self.resumed = checkpoint["global_step"] > 0


class FindLearningRate(_NewRunsOnly, LearningRateFinder):
    """Lightning's `LearningRateFinder`: train with the rate at which the loss falls fastest.

    Early stopping is off: its ratio test is meaningless for losses that can be below 0. A resumed
    run does not search again.

    Args:
        min_lr: first rate.
        max_lr: last rate; flows seldom train with higher ones.
        num_training_steps: number of rates in between.

    >>> FindLearningRate(max_lr=1e-2).optimal_lr is None  # before the search
    True
    """

    def __init__(
        self, min_lr: float = 1e-6, max_lr: float = 3e-2, num_training_steps: int = 100
    ) -> None:
        super().__init__(min_lr, max_lr, num_training_steps, early_stop_threshold=None)

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and print the result.

        Raises:
            InnflowError: if there are too few batches for the test.
        """
        super().lr_find(trainer, pl_module)
        if self.optimal_lr is None or self.optimal_lr.suggestion() is None:
            raise InnflowError(
                "extra=find_lr: too few batches for a range test: raise trainer.max_epochs or "
                "lower data.batch_size"
            )
        announce(f"optimizer.lr={pl_module.lr:.2e}, found by a range test")


class FindBatchSize(_NewRunsOnly, BatchSizeFinder):
    """Lightning's `BatchSizeFinder`: train with the largest batch that fits in memory.

    The batch size is doubled until a trial fails. A resumed run does not search again.

    Args:
        init_val: batch size of the first trial.
        max_val: largest batch size that is tried; never more than the training set.
        steps_per_trial: training steps per trial.

    >>> FindBatchSize(init_val=8, max_val=64).largest
    64
    """

    def __init__(self, init_val: int = 16, max_val: int = 4096, steps_per_trial: int = 3) -> None:
        super().__init__("power", steps_per_trial, init_val, max_val=2 * max_val)
        self.smallest = init_val
        self.largest = max_val

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the batch size."""
        checkpoint["batch_size"] = trainer.datamodule.batch_size  # type: ignore[attr-defined]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the batch size of a resumed run."""
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        if self.resumed:
            trainer.datamodule.batch_size = checkpoint["batch_size"]  # type: ignore[attr-defined]

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, and print the result.

        Raises:
            InnflowError: if the first batch size is larger than the training set.
        """
        items = len(trainer.datamodule.sets()["train"])  # type: ignore[attr-defined]
        largest = min(self.largest, items)
        if self.smallest > largest:
            raise InnflowError(
                f"extra=find_batch_size: callbacks.find_batch_size.init_val={self.smallest} is "
                f"more than {largest}, the largest of {items} training items and max_val"
            )
        # Lightning never tries max_val itself, so the number of trials is bounded here.
        self._max_trials = int(math.log2(largest / self.smallest)) + 1
        super().scale_batch_size(trainer, pl_module)
        announce(f"data.batch_size={self.optimal_batch_size}, the largest that fits")
