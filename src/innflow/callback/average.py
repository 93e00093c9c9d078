"""An exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging


class MovingAverage(EMAWeightAveraging):
    """Validate, save and leave behind an exponential moving average of the weights.

    Buffers are copied and never averaged: the mean of two permutations is none. The average lives
    where the model does, so that an update moves nothing between devices.

    Args:
        decay: share of the average that stays at every step, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False, decay=decay)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the model to its device."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average with what the model knows beside its tensors.

        The average is a copy from before training, when a width that the data decide was not known.
        """
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        for name, value in checkpoint.get("current_model_state", {}).items():
            if name.endswith("_extra_state"):
                checkpoint["state_dict"][name] = value
