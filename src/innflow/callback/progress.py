"""The progress bar, that does not make the device wait at every step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's bar of rich, whose numbers are read from the device when it is redrawn.

    Lightning reads them after every step, and a step on an accelerator then waits for the one
    before it.

    Args:
        refresh_rate: steps from one redrawing to the next.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._read: dict[str, Any] = {}

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the numbers beside the bar."""
        if not trainer.training or trainer.global_step % max(self.refresh_rate, 1) == 0:
            self._read = super().get_metrics(trainer, pl_module)
        return self._read
