"""Calls of a model in one thread, in which requests that wait together are joined."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.errors import InnflowError

Arrays = Mapping[str, np.ndarray]


class Busy(Exception):
    """There are as many waiting requests as are allowed."""


@dataclass
class _Job:
    function: Callable[..., Arrays]
    items: Tensor | None  # the function is called without arguments where None
    done: asyncio.Future[Arrays]


class Batcher:
    """Run functions one after the other in a thread of their own.

    Requests that wait for the same function of items are joined to one call. A request never waits
    for others to come: what arrives during one call is joined in the next.

    Args:
        rows: largest number of items of a joined call.
        waiting: largest number of waiting requests.
    """

    def __init__(self, rows: int, waiting: int) -> None:
        self.rows, self.waiting = rows, waiting
        self._jobs: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return len(self._jobs)

    async def submit(
        self, function: Callable[..., Arrays], items: Tensor | None, seconds: float
    ) -> Arrays:
        """Return function(items), or function() where there are no items.

        Args:
            function: of items (B, ...), of which row i of each result depends on item i alone.
            items: rows of this request.
            seconds: after which the request is given up.

        Raises:
            Busy: if too many requests wait.
            TimeoutError: if the time is over.
        """
        if len(self._jobs) >= self.waiting:
            raise Busy
        job = _Job(function, items, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await asyncio.wait_for(job.done, seconds)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            jobs = self._take()
            if not jobs:
                continue
            results = await loop.run_in_executor(self._thread, _call, jobs)
            for job, result in zip(jobs, results, strict=True):
                if job.done.done():  # given up in the meantime
                    continue
                if isinstance(result, Exception):
                    job.done.set_exception(result)
                else:
                    job.done.set_result(result)

    def _take(self) -> list[_Job]:
        """Remove and return the first job and those after it that can be joined to it."""
        taken: list[_Job] = []
        rows = 0
        while self._jobs:
            job = self._jobs[0]
            size = 0 if job.items is None else len(job.items)
            same = not taken or (job.items is not None and job.function == taken[0].function)
            if taken and (taken[0].items is None or not same or rows + size > self.rows):
                break
            self._jobs.popleft()
            if not job.done.done():
                taken.append(job)
                rows += size
        return taken


def _call(jobs: Sequence[_Job]) -> list[Any]:
    """Return result or exception of each job; one that fails does not affect the others."""
    try:
        if jobs[0].items is None:
            return [jobs[0].function()]
        counts = [len(job.items) for job in jobs if job.items is not None]
        joined = jobs[0].function(torch.cat([job.items for job in jobs if job.items is not None]))
        ends = np.cumsum(counts)[:-1]
        pieces = {name: np.split(values, ends) for name, values in joined.items()}
        return [{name: parts[i] for name, parts in pieces.items()} for i in range(len(jobs))]
    except InnflowError as error:
        return [error] if len(jobs) == 1 else [_call([job])[0] for job in jobs]
    except Exception as error:  # passed on to the request
        return [error] * len(jobs)
