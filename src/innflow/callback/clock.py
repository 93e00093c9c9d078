"""Duration and throughput of training."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Clock(Callback):
    """Measure the seconds and the items per second of training; log `time/seconds`.

    A resumed run continues the counts.

    Attributes:
        seconds: duration of training, validation included.
        items: number of training items processed by all ranks.

    >>> Clock().metrics()
    {'time/train_seconds': 0.0, 'time/images_per_second': 0.0}
    """

    def __init__(self) -> None:
        self.seconds, self.items = 0.0, 0
        self._busy = 0.0  # seconds within batches

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic() - self.seconds

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Start the clock of the batch."""
        self._batch_started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the seconds and the items of the batch."""
        self._busy += time.monotonic() - self._batch_started
        self.items += len(batch["x"]) * trainer.world_size
        self.seconds = time.monotonic() - self._started
        pl_module.log("time/seconds", self.seconds)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds = time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"seconds": self.seconds, "items": self.items, "busy": self._busy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the counts."""
        self.seconds, self.items, self._busy = (state_dict[k] for k in ("seconds", "items", "busy"))

    def metrics(self) -> dict[str, float]:
        """Return `time/train_seconds` (with validation) and `time/images_per_second` (without)."""
        rate = self.items / self._busy if self._busy else 0.0
        return {"time/train_seconds": self.seconds, "time/images_per_second": rate}
