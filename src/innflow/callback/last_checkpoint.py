"""last.ckpt, from which a resumed run continues exactly."""

import math
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint

from innflow.callback.metrics_csv import MetricsCSV
from innflow.callback.randomness import random_states, set_random_state
from innflow.errors import InnflowError, Stopped
from innflow.system.tree import move_paths

KEY = "resume"
"""Key of a checkpoint under which this callback stores its state."""


class LastCheckpoint(Checkpoint):
    """Save last.ckpt so that a resumed run gives the same weights and metrics as without a stop.

    It is saved after each validation, every `minutes`, at the end of training and on a signal, but
    only between batches and after a validation that is due. A second ctrl-C stops without saving.
    The signals are ctrl-C, SIGTERM, and SIGHUP when a terminal closes, unless nohup ignores it.

    Args:
        dirpath: folder of the checkpoints.
        minutes: time between two checkpoints; 0 saves after every step.

    Attributes:
        last_model_path: path of the file, empty before it is written.

    >>> LastCheckpoint("run/checkpoints", minutes=10).path.as_posix()
    'run/checkpoints/last.ckpt'
    """

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, dirpath: str | os.PathLike[str], minutes: float = 5.0) -> None:
        if not minutes >= 0:
            raise InnflowError(f"callbacks: minutes={minutes} must be at least 0")
        self.path = Path(dirpath) / "last.ckpt"
        self.minutes = minutes
        self.last_model_path = ""
        self._signal = 0
        self._saved = -math.inf
        self._validated = False
        self._row: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def leave(self, trainer: Trainer, signum: int) -> None:
        """Stop the run, which has just been saved, on a signal.

        Raises:
            Stopped: always; a subclass may return to continue the run.
        """
        where = f"{signal.Signals(signum).name} at step {trainer.global_step}"
        raise Stopped(f"stopped by {where}; ckpt=last continues from there", signum)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the state for later, and update the paths in a run folder that was moved."""
        if checkpoint["global_step"] == 0:
            return  # a search before training restores its initial checkpoint
        self.last_model_path = str(self.path) if self.path.is_file() else ""
        self._loaded = checkpoint.get(KEY)
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            _check_state(each, checkpoint["callbacks"].get(each.state_key, {}))
        for name, state in checkpoint.get("callbacks", {}).items():
            if isinstance(state, dict) and state.get("dirpath"):
                moved = move_paths(state, str(state["dirpath"]), str(self.path.parent))
                checkpoint["callbacks"][name] = moved

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Truncate metrics.csv to the checkpoint; stop a run that early stopping had ended."""
        if self._loaded is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.cut(self._loaded["rows"])
            if self._loaded["row"] is not None:
                logger.log_metrics(dict(self._loaded["row"]), self._loaded["step"])
                logger.save()
        for each in trainer.early_stopping_callbacks:
            trainer.should_stop |= each.wait_count >= each.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers; restore the random numbers of a resumed run."""
        self._saved = time.monotonic()
        # Lightning restores the handlers from before the training when it ends.
        if threading.current_thread() is threading.main_thread():
            for each in self.signals:
                if each == signal.SIGHUP and signal.getsignal(each) == signal.SIG_IGN:
                    continue
                signal.signal(each, self._handle)
        if self._loaded is None:
            return
        states, self._loaded = self._loaded["random"], None
        if trainer.global_rank < len(states):
            set_random_state(states[trainer.global_rank])
        loop = trainer.fit_loop
        if loop._combined_loader is not None:
            # The schedule reads estimated_stepping_batches, which builds the loader before its
            # state is restored.
            loop._combined_loader._load_state_dicts(loop._combined_loader_states_to_load)
            loop._combined_loader_states_to_load = []
        if loop.restarted_on_epoch_end:
            # With max_steps Lightning would repeat the completed epoch without batches.
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            loop.epoch_loop.restarting = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save if due, unless a validation or the end of the epoch follows, which then saves."""
        # A checkpoint does not hold gradients that are still being accumulated.
        if _accumulates(trainer) or _ends_epoch(trainer) or _validates(trainer):
            return
        request = self._request(trainer)
        if request or _ends(trainer):
            self._row = _pending_row(trainer)
            self._save(trainer, request)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch."""
        if trainer.sanity_checking:
            return
        if _ends_epoch(trainer):
            self._validated = True
        elif _validates(trainer) and not _accumulates(trainer):
            self._save(trainer, self._request(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch with a validation."""
        if not _ends_epoch(trainer):
            return  # training stopped within an epoch, after its last step was saved
        request = self._request(trainer)
        if request or self._validated or _ends(trainer):
            self._save(trainer, request)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a run whose time limit was reached before its first step."""
        if not self.last_model_path:
            self._save(trainer, 0)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random states and the number of rows of metrics.csv, which Lightning omits."""
        tables = [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]
        for table in tables:
            table.save()  # callbacks that log leave rows in memory, which a killed process loses
        checkpoint[KEY] = {
            "random": random_states(trainer.world_size),
            "rows": tables[0].rows if tables else 0,
            "row": self._row,
            "step": trainer.global_step - 1,  # under which Lightning logs the row
        }

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._signal and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signum

    def _request(self, trainer: Trainer) -> int:
        """Return, on all ranks, 1 + the signal that any received, 1 if a save is due, or 0."""
        due = int(time.monotonic() - self._saved >= 60 * self.minutes)
        mine = 1 + self._signal if self._signal else due
        if trainer.world_size == 1:
            return mine
        request = torch.tensor(mine, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(request, reduce_op="max"))

    def _save(self, trainer: Trainer, request: int) -> None:
        trainer.save_checkpoint(self.path)
        self._row, self._validated, self._saved = None, False, time.monotonic()
        self.last_model_path = str(self.path)
        if request > 1:
            self._signal = 0
            self.leave(trainer, request - 1)


def _check_state(callback: Callback, state: dict[str, Any]) -> None:
    """Refuse the state of a callback in which numbers and texts are of another kind."""
    for key, value in callback.state_dict().items():
        kind = (int, float) if isinstance(value, int | float) else type(value)
        if value is not None and key in state and not isinstance(state[key], kind):
            found = type(state[key]).__name__
            raise InnflowError(
                f"the checkpoint's state of {callback.state_key} has a {found} as its {key}: it is "
                "damaged; init=DIR starts a new training from its weights"
            )


def _ends_epoch(trainer: Trainer) -> bool:
    """Return whether this batch is the last of its epoch."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready == trainer.num_training_batches


def _accumulates(trainer: Trainer) -> bool:
    """Return whether the gradients of this batch are added to those of the next, in its epoch."""
    batches: int = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return batches % trainer.accumulate_grad_batches != 0


def _validates(trainer: Trainer) -> bool:
    """Return whether a validation is scheduled after this batch, unless training stops early."""
    epochs, batches = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or not batches or math.isinf(batches):
        return False
    if epochs is None:
        return (trainer.fit_loop.total_batch_idx + 1) % batches == 0
    due = (trainer.current_epoch + 1) % epochs == 0
    return due and (trainer.fit_loop.batch_idx + 1) % batches == 0


def _ends(trainer: Trainer) -> bool:
    """Return whether training ends with this batch."""
    epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    return (
        trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
        or 0 <= (-1 if trainer.max_epochs is None else trainer.max_epochs) <= epochs
    )


def _pending_row(trainer: Trainer) -> dict[str, Any] | None:
    """Return the metrics of this batch, which Lightning logs after the callbacks."""
    connector = trainer._logger_connector
    values = connector.metrics["log"]
    if not connector.should_update_logs or not values:
        return None
    return {name: float(value) for name, value in values.items()} | {"epoch": trainer.current_epoch}
