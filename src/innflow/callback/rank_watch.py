"""Detection of a rank whose process ended during training."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

from innflow.system.explain import explain, is_lost_rank

GRACE = 10.0
"""Seconds for this process to fail by itself after another rank has ended."""


class RankWatch(Callback):
    """Name the rank whose process ended, and end the others.

    A collective operation then fails in the other ranks, or never returns. Lightning would kill
    this process without a message.

    Args:
        continuation: returns the text that says where the run can be resumed.

    >>> RankWatch(lambda: "").processes
    []
    """

    def __init__(self, continuation: Callable[[], str]) -> None:
        self.continuation = continuation
        self.processes: Sequence[subprocess.Popen[bytes]] = []
        self._over = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch the processes that Lightning has started, instead of its own observer."""
        launcher: Any = trainer.strategy.launcher
        self.processes = list(getattr(launcher, "procs", ()))
        if self.processes:
            launcher.procs.clear()  # the list of Lightning's observer, which then ends
            launcher.procs = self.processes
            threading.Thread(target=self._watch, daemon=True).start()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Name the rank that ended in the error, which only one of the others reports."""
        self._over.set()
        if not isinstance(exception, Exception):
            return  # a signal, which stops all ranks at one step
        if trainer.is_global_zero:
            if is_lost_rank(exception):
                self._name(exception)
            self._kill()
        elif not is_lost_rank(exception):
            return
        elif _first_rank_lives():
            raise SystemExit(0)
        else:
            exception.error_index = 0  # type: ignore[attr-defined]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the watch."""
        self._over.set()

    def _watch(self) -> None:
        """Report a process that has failed if this one does not, and end all."""
        while not self._over.wait(1.0):
            if any(process.poll() for process in self.processes) and not self._over.wait(GRACE):
                error = RuntimeError("connection closed by peer")
                self._name(error)
                line = f"{explain(error)}; {self.continuation()}"
                sys.stderr.write(f"innflow-train: error: {line}\n")
                self._kill()
                os._exit(2)  # the main thread waits for the other rank

    def _name(self, error: BaseException) -> None:
        """Set the attributes that `torch.multiprocessing` gives to such errors."""
        for rank, process in enumerate(self.processes, start=1):
            try:
                code = process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                continue
            named: Any = error
            named.error_index = rank
            named.signal_name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()


def _first_rank_lives() -> bool:
    """Return whether the process of rank 0 answers: it holds the store of the group."""
    try:
        dist.distributed_c10d._get_default_store().add("lost", 1)
    except (RuntimeError, ValueError):
        return False
    return True
