"""last.ckpt of a run that is a job of Slurm."""

from __future__ import annotations

import logging
import signal

import pytorch_lightning as pl

from innflow.callback.last import LastCheckpoint
from innflow.system.slurm import LEAVE, end, requeue, requeued

log = logging.getLogger(__name__)


class Requeue(LastCheckpoint):
    """Save and go back into the queue when Slurm tells the job to leave.

    It stands in for Lightning's handler of USR1, which saves wherever in a step the signal finds
    it: within an optimizer's step the weights of two steps mix, and ranks that wait for each other
    at different places never meet.
    """

    signals = (LEAVE, signal.SIGTERM, signal.SIGINT)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say where a job that has run before goes on."""
        super().on_train_start(trainer, pl_module)
        if requeued():
            log.info("started again by Slurm, goes on from step %d", trainer.global_step)

    def leave(self, trainer: pl.Trainer, signum: int) -> None:
        """Leave the node; it returns where Slurm does not take the job back, which then goes on."""
        if signum == signal.SIGINT:
            super().leave(trainer, signum)
        for logger in trainer.loggers:
            logger.save()
        if signum == signal.SIGTERM:
            end()
        if trainer.global_rank:
            # Slurm's SIGTERM may come before the first rank's answer.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if trainer.strategy.broadcast(requeue() if trainer.is_global_zero else None):
            end()
        signal.signal(signal.SIGTERM, self._note)
