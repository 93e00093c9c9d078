"""How long training took, and how many items a second went through it."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl


class Clock(pl.Callback):
    """Count the seconds of training and the items that went through it; log `time/seconds`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.items = 0
        self._batch_started = 0.0
        self._busy = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic() - self.seconds

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note when a batch begins."""
        self._batch_started = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the batch's time and items, of all ranks."""
        self._busy += time.monotonic() - self._batch_started
        self.items += len(batch["x"]) * trainer.world_size
        self.seconds = time.monotonic() - self._started
        pl_module.log("time/seconds", self.seconds)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self.seconds = time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run counts on from."""
        return {"seconds": self.seconds, "items": self.items, "busy": self._busy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from there."""
        self.seconds, self.items = state_dict["seconds"], state_dict["items"]
        self._busy = state_dict["busy"]

    def metrics(self) -> dict[str, float]:
        """Return `time/train_seconds`, with validation, and `time/images_per_second`, without."""
        rate = self.items / self._busy if self._busy else 0.0
        return {"time/train_seconds": self.seconds, "time/images_per_second": rate}
