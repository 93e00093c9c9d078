"""last.ckpt, from which a run goes on as if it had never stopped."""

from __future__ import annotations

import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping

from innflow.callback.metrics_csv import MetricsCSV
from innflow.callback.randomness import random_states, set_random_state
from innflow.errors import InnflowError, Stopped

KEY = "resume"
"""Where it stands in a checkpoint."""


class LastCheckpoint(Checkpoint):
    """Write last.ckpt where a run can be cut without a trace, and go on from there.

    That is between two batches: after the first with its validation, before anything is drawn for
    the second. It is written after every validation, some minutes after the last one, at the end,
    and when a signal asks the run to stop. A second ctrl-C stops at once and saves nothing.

    Args:
        dirpath: folder of the checkpoints.
        minutes: from one to the next; 0 for one after every step.
    """

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, dirpath: str, minutes: float = 5.0) -> None:
        if not minutes >= 0:
            raise InnflowError(f"callbacks: minutes={minutes} must be at least 0")
        self.path = Path(dirpath) / "last.ckpt"
        self.minutes = minutes
        self.last_model_path = ""
        self._asked = 0
        self._saved = -math.inf
        self._validated = False
        self._row: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def leave(self, trainer: pl.Trainer, signum: int) -> None:
        """End the run, which has just been saved."""
        raise Stopped(
            f"stopped by {signal.Signals(signum).name} at step {trainer.global_step}; "
            "ckpt=last goes on from there",
            signum,
        )

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is needed later; let the other callbacks find a folder that was moved."""
        if checkpoint["global_step"] == 0:
            return  # a search before training goes back to its start
        self._loaded = checkpoint.get(KEY)
        for name, state in checkpoint.get("callbacks", {}).items():
            if isinstance(state, dict) and state.get("dirpath"):
                moved = _moved(state, str(state["dirpath"]), str(self.path.parent))
                checkpoint["callbacks"][name] = moved

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut metrics.csv back to the checkpoint; leave a run that had ended early at its end."""
        if self._loaded is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.cut(self._loaded["rows"])
            if self._loaded["row"] is not None:
                logger.log_metrics(dict(self._loaded["row"]), self._loaded["step"])
                logger.save()
        stoppers = [c for c in trainer.callbacks if isinstance(c, EarlyStopping)]  # type: ignore[attr-defined]
        if any(each.wait_count >= each.patience for each in stoppers):
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen for signals; give a resumed run its random numbers."""
        self._saved = time.monotonic()
        # When training ends, Lightning brings back the handlers that it has found.
        if threading.current_thread() is threading.main_thread():
            for each in self.signals:
                signal.signal(each, self._note)
        if self._loaded is None:
            return
        states, self._loaded = self._loaded["random"], None
        if trainer.global_rank < len(states):
            set_random_state(states[trainer.global_rank])
        loop = trainer.fit_loop
        if loop._combined_loader is not None:
            # Lightning has opened the data for the learning rate's schedule, before it had these.
            loop._combined_loader._load_state_dicts(loop._combined_loader_states_to_load)
            loop._combined_loader_states_to_load = []
        if loop.restarted_on_epoch_end:
            # With max_steps Lightning would run the epoch that has ended once more, without items.
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            loop.epoch_loop.restarting = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save, unless this batch has more to come: a validation, or the end of its epoch."""
        loop = trainer.fit_loop.epoch_loop
        # Gradients that are still being summed are in no checkpoint.
        if loop._should_accumulate() or loop._num_ready_batches_reached() or _validates(trainer):
            return
        asked = self._request(trainer)
        if asked or _ends(trainer):
            self._row = _row(trainer)
            self._save(trainer, asked)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a validation within an epoch."""
        loop = trainer.fit_loop.epoch_loop
        if trainer.sanity_checking:
            return
        if loop._num_ready_batches_reached():
            self._validated = True
        elif _validates(trainer) and not loop._should_accumulate():
            self._save(trainer, self._request(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after an epoch with a validation."""
        if not trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            return  # a run that ends within an epoch: it is saved
        asked = self._request(trainer)
        if asked or self._validated or _ends(trainer):
            self._save(trainer, asked)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where nothing has been: a run whose time was over before its first step."""
        if not self.last_model_path:
            self._save(trainer, 0)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out: random numbers, and how far metrics.csv is."""
        rows = [logger.rows for logger in trainer.loggers if isinstance(logger, MetricsCSV)]
        checkpoint[KEY] = {
            "random": random_states(trainer.world_size),
            "rows": rows[0] if rows else 0,
            "row": self._row,
            "step": trainer.fit_loop.epoch_loop._batches_that_stepped,
        }

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = signum

    def _request(self, trainer: pl.Trainer) -> int:
        """Return a signal that any rank has been sent, 1 where it is time to save, or 0."""
        mine = self._asked or int(time.monotonic() - self._saved >= 60 * self.minutes)
        if trainer.world_size == 1:
            return mine
        sent = torch.tensor(mine, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(sent, reduce_op="max"))

    def _save(self, trainer: pl.Trainer, asked: int) -> None:
        trainer.save_checkpoint(self.path)
        self._row, self._validated, self._saved = None, False, time.monotonic()
        self.last_model_path = str(self.path)
        if asked > 1:
            self._asked = 0
            self.leave(trainer, asked)


def _validates(trainer: pl.Trainer) -> bool:
    """Return whether a validation is planned after this batch; one before an early end is not."""
    epochs, batches = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or not batches or math.isinf(batches):
        return False
    if epochs is None:
        return (trainer.fit_loop.total_batch_idx + 1) % batches == 0
    due = (trainer.current_epoch + 1) % epochs == 0
    return due and (trainer.fit_loop.batch_idx + 1) % batches == 0


def _ends(trainer: pl.Trainer) -> bool:
    """Return whether training ends with this batch."""
    epochs: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    return (
        trainer.should_stop
        or 0 <= trainer.max_steps <= trainer.global_step
        or 0 <= (-1 if trainer.max_epochs is None else trainer.max_epochs) <= epochs
    )


def _row(trainer: pl.Trainer) -> dict[str, Any] | None:
    """Return what Lightning is about to log of this batch, if anything."""
    connector = trainer._logger_connector
    values = connector.metrics["log"]
    if not connector.should_update_logs or not values:
        return None
    return {name: float(value) for name, value in values.items()} | {"epoch": trainer.current_epoch}


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a state with another folder in every path."""
    if isinstance(value, str):
        return new + value[len(old) :] if value.startswith(old) else value
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(each, old, new) for key, each in value.items()}
    return value
