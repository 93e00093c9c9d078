"""Dropout that sets in when a flow begins to overfit, and not before."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn

from innflow.errors import InnflowError

log = logging.getLogger(__name__)


class DropoutOnOverfit(pl.Callback):
    """Goes back to the best weights and raises the dropout when held-out data get worse.

    How much dropout some thousands of simulations need differs from problem to problem: where the
    posterior is sharp and simple any is too much, where it is broad the same network overfits
    without. So a run begins with none. When `monitor` has been worse than the best of its rate by
    a margin for `patience` validations in a row, training goes on from the best weights of all with
    the next rate.
    Nothing but held-out training data is looked at.

    Args:
        rates: dropout rates in rising order, taken one after the other.
        patience: validations in a row that are worse than the best, before the next rate.
        margin: by which they are worse; less is the noise of training.
        monitor: logged metric, smaller is better.
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
            raise InnflowError(f"callbacks: rates={self.rates}: takes rising shares in (0, 1)")
        if patience < 1:
            raise InnflowError(f"callbacks: patience={patience} must be at least 1")
        if not margin >= 0:
            raise InnflowError(f"callbacks: margin={margin} must be at least 0")
        self.patience = patience
        self.margin = margin
        self.monitor = monitor
        self.raised = 0
        self.idle = 0
        self.best = math.inf
        self.reached = math.inf
        """Best value since the present rate set in."""
        self.weights: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a flow without dropout layers; take the rate of a resumed run."""
        if not _layers(pl_module):
            raise InnflowError(
                "callbacks: dropout needs coupling networks with model.subnet.dropout=0.0 or more"
            )
        if self.raised:
            self._set(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note an improvement, or count towards the next rate."""
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
        self._set(pl_module)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                callback.wait_count = 0  # the next rate has its own chance to improve
        log.info(
            "step %d: held-out data got worse, dropout is now %g",
            trainer.global_step,
            self.rates[self.raised - 1],
        )

    def _set(self, module: nn.Module) -> None:
        for layer in _layers(module):
            layer.p = self.rates[self.raised - 1]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "raised": self.raised,
            "idle": self.idle,
            "best": self.best,
            "reached": self.reached,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a run stopped."""
        self.raised, self.idle = state_dict["raised"], state_dict["idle"]
        self.best, self.weights = state_dict["best"], state_dict["weights"]
        self.reached = state_dict["reached"]


def _layers(module: nn.Module) -> list[nn.Dropout]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
