"""A callback that stops a Slurm job at a step, so that a test meets it in its training."""

import os
import signal
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Hold(Callback):
    """Stop the process (SIGSTOP) at a step of a job that Slurm has not started before.

    Without it a job could end before the test has sent its signal.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Wait here for SIGCONT."""
        if trainer.global_step == self.step and os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), signal.SIGSTOP)
