"""Dropout that is raised when a flow begins to overfit."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn

from innflow.callback.average import MovingAverage
from innflow.errors import InnflowError

log = logging.getLogger(__name__)

STATE = ("raised", "idle", "best", "reached", "weights")
"""Attributes that a checkpoint holds."""


class DropoutOnOverfit(Callback):
    """Restore the best weights and raise the dropout rate when the validation metric gets worse.

    With some thousands of simulations the best dropout rate depends on the problem: 0 for a sharp
    and simple posterior, more for a broad one. A run begins without dropout. When
    `monitor` has been worse than its best value at this rate by `margin` for `patience` validations
    in a row, training continues from the best weights so far at the next rate.

    Args:
        rates: dropout rates in rising order.
        patience: consecutive worse validations before the next rate.
        margin: smallest difference that counts as worse; it should exceed the noise of training.
        monitor: name of a logged metric, smaller is better.

    Raises:
        InnflowError: if an argument is out of range, or the flow has no dropout layers.

    >>> DropoutOnOverfit(rates=[0.1, 0.3], patience=2).rates
    [0.1, 0.3]
    """

    def __init__(
        self,
        rates: Sequence[float] = (0.1, 0.2, 0.3),
        patience: int = 5,
        margin: float = 0.1,
        monitor: str = "val/nll",
    ) -> None:
        super().__init__()
        self.rates = list(rates)
        if sorted(self.rates) != self.rates or not all(0 < rate < 1 for rate in self.rates):
            raise InnflowError(f"callbacks: rates={self.rates}: must be rising rates in (0, 1)")
        if patience < 1:
            raise InnflowError(f"callbacks: patience={patience} must be at least 1")
        if not margin >= 0:
            raise InnflowError(f"callbacks: margin={margin} must be at least 0")
        self.patience, self.margin, self.monitor = patience, margin, monitor
        self.raised = 0  # times that the rate was raised
        self.idle = 0  # consecutive worse validations
        self.best = math.inf  # of all validations
        self.reached = math.inf  # best value at the present rate
        self.weights: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a flow without dropout layers; restore the rate of a resumed run."""
        if not _find_dropout(pl_module):
            raise InnflowError(
                "callbacks: dropout needs coupling networks with model.subnet.dropout=0.0 or more"
            )
        if self.raised:
            self._set_rate(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights of the best validation; raise the rate after `patience` worse ones."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None:
            return
        now = float(value)
        self.idle = self.idle + 1 if now > self.reached + self.margin else 0
        self.reached = min(self.reached, now)
        if now < self.best:
            self.best = now
            self.weights = {
                name: entry.detach().clone() if isinstance(entry, Tensor) else entry
                for name, entry in pl_module.state_dict().items()
            }
            return
        if self.idle < self.patience or self.raised == len(self.rates):
            return
        self.raised, self.idle, self.reached = self.raised + 1, 0, math.inf
        pl_module.load_state_dict(self.weights)
        self._set_rate(pl_module)
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, EarlyStopping):
                each.wait_count = 0  # early stopping starts anew at each rate
            if isinstance(each, MovingAverage):
                each.restart()  # the average has the weights that overfit
        rate = self.rates[self.raised - 1]
        step = trainer.global_step
        log.info("step %d: %s got worse, dropout is now %g", step, self.monitor, rate)

    def _set_rate(self, module: nn.Module) -> None:
        for layer in _find_dropout(module):
            layer.p = self.rates[self.raised - 1]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts and the best weights."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts and the best weights."""
        for name in STATE:
            setattr(self, name, state_dict[name])


def _find_dropout(module: nn.Module) -> list[nn.Dropout]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
