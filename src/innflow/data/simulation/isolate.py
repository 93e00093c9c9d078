"""Runs of a forward model in processes of their own, which may end or hang.

A forward model may wrap code that exits, crashes or never returns for some parameters. Each of
these is one failed simulation, whose data are NaN, and not the end of the run.
"""

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from typing import Any, TypeVar

import numpy as np
import torch

from innflow.errors import InnflowError

T = TypeVar("T")
Task = tuple[np.ndarray, tuple[int, ...], int]
"""Parameters (B, P), seed, and number of the first row."""
Result = np.ndarray | str
"""Data (B, M), or an error message."""

HUNG = "did not return"
_UNFORKABLE = ("cupy", "jax", "numba", "tensorflow")
"""Packages whose threads do not survive in a copy of the process."""
_PATIENCE = 60.0
"""Seconds after which a chunk may count as hanging."""
_SLOWER = 100.0
"""How many times slower than the slowest chunk before it is a chunk that hangs."""


def can_isolate() -> bool:
    """Return whether this process can be copied: on Linux, before CUDA or JAX were used."""
    loaded = any(name in sys.modules for name in _UNFORKABLE)
    daemon = multiprocessing.current_process().daemon
    return sys.platform == "linux" and not (loaded or daemon or torch.cuda.is_initialized())


class Ended(Exception):
    """A function that did not return: the message is how its process ended."""


def call(function: Callable[[], T]) -> T:
    """Return the result of a function that is called in a copy of this process, where that can be.

    A function that raises there is called here again, so that its error is raised as it is.

    Raises:
        Ended: if the function ended or hung its process.
    """
    if not can_isolate():
        return function()
    worker = _Worker(lambda: _attempt(function))
    try:
        worker.send(())
        end = worker.end() if worker.pipe.poll(10 * _PATIENCE) else HUNG
    finally:
        worker.kill()
    if end:
        raise Ended(end)
    returned, result = worker.result
    return result if returned else function()


def _attempt(function: Callable[[], T]) -> tuple[bool, T | None]:
    try:
        return True, function()
    except Exception:
        return False, None


class Isolated:
    """Copies of this process that run chunks of rows.

    Args:
        function: Runs a task.
        dims: Number M of data.
        seconds: Time of one row, from a trial.

    Attributes:
        lost: Parameters (P,) of each simulation that ended or hung its process, and how.
        spent: Seconds of the last task.
    """

    def __init__(self, function: Callable[..., Result], dims: int, seconds: float) -> None:
        self.function, self.dims = function, dims
        self.lost: list[tuple[np.ndarray, str]] = []
        self.spent = 0.0
        self._slowest = seconds
        self._idle: list[_Worker] = []

    def results(self, tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
        """Yield the result of each task, in order, from so many processes."""
        busy: dict[Any, tuple[int, _Worker]] = {}
        done: dict[int, Result] = {}
        waiting = deque(enumerate(tasks))
        try:
            for number in range(len(tasks)):
                while number not in done:
                    while waiting and len(busy) < workers:
                        index, task = waiting.popleft()
                        worker = self._idle.pop() if self._idle else _Worker(self.function)
                        worker.send(task)
                        busy[worker.pipe] = index, worker
                    for pipe, end in self._ends(busy):
                        index, worker = busy.pop(pipe)
                        done[index] = self._result(tasks[index], worker, end)
                yield done.pop(number)
        finally:
            for _, worker in busy.values():
                worker.kill()

    def close(self) -> None:
        """End all processes."""
        for worker in self._idle:
            worker.kill()

    def _ends(self, busy: "dict[Any, tuple[int, _Worker]]") -> list[tuple[Any, str]]:
        """Return the connections of workers that are ready, or hang, and how a worker ended."""
        ready = wait(list(busy), timeout=1.0)
        found = [(pipe, busy[pipe][1].end()) for pipe in busy if pipe in ready]
        for pipe, (_, worker) in busy.items():
            limit = max(_PATIENCE, _SLOWER * self._slowest * worker.rows)
            if pipe not in ready and worker.seconds > limit:
                found.append((pipe, HUNG))
        return found

    def _result(self, task: Task, worker: "_Worker", end: str) -> Result:
        """Return the result of a worker, or the results of its rows one by one if it has none."""
        rows, seed, start = task
        if not end:
            self.spent = worker.spent
            self._slowest = max(self._slowest, worker.spent / len(rows))
            self._idle.append(worker)
            return worker.result
        worker.kill()
        if len(rows) == 1:
            self.lost.append((rows[0], end))
            return np.full((1, self.dims), np.nan, dtype=np.float32)
        single = [(rows[i : i + 1], (*seed, i), start + i) for i in range(len(rows))]
        parts = list(self.results(single, workers=1))
        texts = [part for part in parts if isinstance(part, str)]
        return texts[0] if texts else np.concatenate(parts)


class _Worker:
    """A copy of this process that calls a function, one call at a time."""

    def __init__(self, function: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, theirs))
        with warnings.catch_warnings():  # of threads, which the copy does not need
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    @property
    def seconds(self) -> float:
        """Seconds since the arguments were sent."""
        return time.monotonic() - self._sent

    def send(self, arguments: tuple[Any, ...]) -> None:
        """Send the arguments of a call."""
        self.rows = len(arguments[0]) if arguments else 1
        self._sent = time.monotonic()
        self.pipe.send(arguments)

    def end(self) -> str:
        """Receive the result; return how the process ended instead, "" if it has not."""
        try:
            self.result, self.spent = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode or 0
            return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited ({code})"
        return ""

    def kill(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(function: Callable[..., Any], pipe: Any) -> None:
    """Call a function whenever arguments arrive, until the first process has ended."""
    # The threads of OpenMP are not copied, and a parallel region would wait for them forever.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()
    try:
        while True:
            while not pipe.poll(5.0):
                if os.getppid() != parent:
                    os._exit(0)
            arguments = pipe.recv()
            start = time.monotonic()
            try:
                result = function(*arguments)
            except InnflowError as error:
                result = str(error)
            pipe.send((result, time.monotonic() - start))
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
