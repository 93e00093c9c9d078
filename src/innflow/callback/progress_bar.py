"""A progress bar without a synchronisation of the device at every step."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's `RichProgressBar`, which reads metrics from the device only when it is redrawn.

    Lightning reads them after every step, which makes the host wait for the accelerator.

    Args:
        refresh_rate: steps between two redraws.

    >>> Progress(refresh_rate=10).refresh_rate
    10
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._read: dict[str, Any] = {}

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the metrics shown next to the bar."""
        if not trainer.training or trainer.global_step % max(self.refresh_rate, 1) == 0:
            self._read = super().get_metrics(trainer, pl_module)
        return self._read
