"""An exponential moving average of the weights."""

from functools import partial
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Validate, save and return an exponential moving average of the weights.

    After n steps the share that remains is at most (1 + n) / (10 + n), so that the average does not
    depend on the weights at the start of a short run.

    Buffers are copied and not averaged: the mean of two permutations is not a permutation. The
    average is on the device of the model, so that no update moves data between devices.

    Args:
        decay: largest share of the average that remains at every step, in [0, 1).

    >>> MovingAverage(decay=0.99).should_update(step_idx=0)
    True
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=partial(_update, decay))

    def restart(self) -> None:
        """Begin a new average at the weights of the next step."""
        if self._average_model is not None:
            self._average_model.n_averaged.zero_()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the average on the device of the strategy."""
        pl_module.to(trainer.strategy.root_device)  # the average is created where the model is
        super().setup(trainer, pl_module, stage)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average, with the extra states of the model itself.

        The average was copied before training, when modules had not yet computed these states from
        the training data.
        """
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        for name, value in checkpoint.get("current_model_state", {}).items():
            if name.endswith("_extra_state"):
                checkpoint["state_dict"][name] = value


def _update(decay: float, average: list[Tensor], now: list[Tensor], steps: Tensor) -> None:
    """Move averages towards the weights now, at the step with this number."""
    count = int(steps)
    get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(average, now, steps)
