"""last.ckpt and requeueing of a Slurm job."""

import logging
import signal

from pytorch_lightning import LightningModule, Trainer

from innflow.callback.last_checkpoint import LastCheckpoint
from innflow.system.slurm import LEAVE, end, requeue, requeued

log = logging.getLogger(__name__)


class Requeue(LastCheckpoint):
    """Save last.ckpt and requeue the job when Slurm signals the end of its time or a preemption.

    It replaces Lightning's handler of USR1, which saves in the middle of a step: during the step of
    the optimizer the checkpoint would mix the weights of two steps, and ranks that are interrupted
    at different collective operations would deadlock.

    >>> Requeue("run/checkpoints").signals[0].name
    'SIGUSR1'
    """

    signals = (LEAVE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the step at which a requeued job continues."""
        super().on_train_start(trainer, pl_module)
        if requeued():
            log.info("requeued by Slurm, continues from step %d", trainer.global_step)

    def leave(self, trainer: Trainer, signum: int) -> None:
        """Requeue the job and end it; continue training if Slurm refuses to requeue it."""
        if signum in (signal.SIGINT, signal.SIGHUP):
            super().leave(trainer, signum)
        for logger in trainer.loggers:
            logger.save()
        if signum == signal.SIGTERM:
            end()
        if trainer.global_rank:
            # Slurm's SIGTERM may come before the broadcast of the first rank.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if trainer.strategy.broadcast(requeue() if trainer.is_global_zero else None):
            end()
        signal.signal(signal.SIGTERM, self._handle)
