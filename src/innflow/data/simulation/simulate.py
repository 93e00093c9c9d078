"""Runs of a forward model in parallel worker processes, and their cache on disk."""

import hashlib
import inspect
import json
import logging
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from torch import Tensor

from innflow.data.image.cache import writable
from innflow.data.simulation.forward import ForwardModel, run_chunk, shown
from innflow.data.simulation.isolate import Isolated, Result, Task, can_isolate
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_arrays
from innflow.system.file.npz import DAMAGE, read_arrays
from innflow.system.progress import announce, track

log = logging.getLogger(__name__)

ALLOWED = 0.01
"""Largest fraction of the simulations that may be NaN or infinite; they are left out."""
_FORMAT = 1
_CHUNKS = 100
_KEEP_AFTER = 5.0
"""Seconds after which chunks are kept."""
_CHUNK = 4096
_WORTH_WORKERS = 10.0
"""Seconds of remaining work from which starting worker processes pays."""


def simulate(
    model: ForwardModel,
    x: Tensor,
    seed: Sequence[int],
    processes: int | None = None,
    allowed: float = ALLOWED,
    keep: Path | None = None,
) -> Tensor:
    """Return data (N, M) for parameters x (N, P), independent of the number of processes.

    Args:
        model: The forward model; its own noise is seeded for each chunk of rows.
        x: Parameters, float32.
        seed: Integers, extended by the number of each chunk.
        processes: Largest number of workers, None for as many as there are cores; 0 for this
            process, which a model can then end. Short simulations have one worker.
        allowed: Largest fraction of rows that may be NaN or infinite.
        keep: Folder in which the chunks of a long simulation are kept until all are done, so that
            it continues there; None for none.

    Raises:
        InnflowError: The model raises, changes the shape of its results, or has too many rows that
            are not finite. A row that ends or hangs its process is NaN.
    """
    size = min(max(-(-len(x) // _CHUNKS), 1), _CHUNK)
    starts = range(0, len(x), size)
    rows = x.numpy()
    tasks = [(rows[i : i + size], (*seed, number), i) for number, i in enumerate(starts)]
    parts: list[np.ndarray] = []
    bad: list[int] = []
    pool = Isolated(partial(run_chunk, model), model.dims, model.seconds)
    stored = {} if keep is None else _read_chunks(keep, tasks, model.dims)
    left = [task for number, task in enumerate(tasks) if number not in stored]
    with closing(pool), closing(_results(model, pool, left, processes)) as results:
        merged = _merge(results, len(tasks), stored, keep)
        bar = track(merged, f"simulating, {size:,} at a time", total=len(tasks))
        for y, start in zip(bar, starts, strict=True):
            if isinstance(y, str):
                raise InnflowError(f"{model.key}={model.path}: {y}")
            parts.append(y)
            bad += (start + np.flatnonzero(~np.isfinite(y).all(axis=1))).tolist()
            if len(bad) > allowed * len(x):
                raise InnflowError(
                    f"{model.key}={model.path}: {len(bad):,} of the first {start + len(y):,} "
                    f"simulations are not finite, {allowed:.0%} of {len(x):,} may be: fix it or "
                    f"narrow the prior; the first is x = {shown(rows[bad[0]])}{_lost(pool)}"
                )
    if pool.lost:
        announce(f"{model.key}={model.path}: simulations that failed are NaN{_lost(pool)}")
    return torch.from_numpy(np.concatenate(parts))


def _merge(
    results: Iterator[Result], count: int, stored: Mapping[int, np.ndarray], keep: Path | None
) -> Iterator[Result]:
    """Yield all chunks in order; keep the new ones if the simulation takes long."""
    start = time.monotonic()
    for number in range(count):
        if number in stored:
            yield stored[number]
            continue
        y = next(results)
        if keep is not None and not isinstance(y, str) and time.monotonic() - start > _KEEP_AFTER:
            with writable(keep):
                write_arrays(keep / f"{number}.npz", {"y": y})
        yield y


def _read_chunks(keep: Path, tasks: Sequence[Task], dims: int) -> dict[int, np.ndarray]:
    """Return the chunks that an earlier run has kept, by their number."""
    found: dict[int, np.ndarray] = {}
    for number, (rows, _, _) in enumerate(tasks):
        try:
            y = read_arrays(keep / f"{number}.npz", ["y"])["y"]
        except (FileNotFoundError, *DAMAGE):
            continue
        if y.shape == (len(rows), dims):
            found[number] = y
    if found:
        rows_done = sum(len(y) for y in found.values())
        announce(f"{rows_done:,} simulations from {keep}: an earlier run has made them")
    return found


def _lost(pool: Isolated) -> str:
    """Return how many simulations ended or hung their process, as the end of a message."""
    if not pool.lost:
        return ""
    x, end = pool.lost[0]
    return f"; of {len(pool.lost):,} the process ended or hung: it {end} at x = {shown(x)}"


def _results(
    model: ForwardModel, pool: Isolated, tasks: Sequence[Task], processes: int | None
) -> Generator[Result, None, None]:
    """Yield the result of `run_chunk` for each task, in order."""
    if not tasks:
        return
    isolated = processes != 0 and can_isolate()
    start = time.monotonic()
    first = next(pool.results(tasks[:1], 1)) if isolated else run_chunk(model, *tasks[0])
    left = (pool.spent if isolated else time.monotonic() - start) * (len(tasks) - 1)
    yield first
    workers = max(joblib.cpu_count() if processes is None else processes, 1)
    if left >= _WORTH_WORKERS:  # in a log file there is no progress bar
        announce(
            f"simulating {model.path}: about {left / workers:,.0f} s on {workers} "
            f"{'processes' if workers > 1 else 'process'}"
        )
    if isolated:
        yield from pool.results(tasks[1:], workers if left >= _WORTH_WORKERS else 1)
        return
    if workers == 1 or left < _WORTH_WORKERS:
        yield from (run_chunk(model, *task) for task in tasks[1:])
        return
    # max_nbytes=None: rows are copied, not mapped from a read-only file.
    parallel = joblib.Parallel(workers, return_as="generator", max_nbytes=None)
    try:
        with warnings.catch_warnings():
            # joblib warns of unused results after an early stop.
            warnings.filterwarnings("ignore", module="joblib.parallel")
            yield from parallel(joblib.delayed(run_chunk)(model, *task) for task in tasks[1:])
    except TerminatedWorkerError:
        raise InnflowError(
            f"{model.key}={model.path}: killed its worker process, perhaps out of memory: "
            "lower data.processes"
        ) from None
    finally:  # each idle worker holds a few hundred megabytes
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@dataclass(frozen=True)
class Simulations:
    """Parameters x (N, P), data y (N, M) without declared noise, and the number left out."""

    x: Tensor
    y: Tensor
    dropped: int


def cache_key(modules: Sequence[ModuleType], *facts: Any) -> str:
    """Return a name of all that simulations depend on: source code, texts, numbers and tensors."""
    digest = hashlib.sha256()
    for module in modules:
        file = inspect.getsourcefile(module) if getattr(module, "__file__", None) else None
        digest.update(Path(file).read_bytes() if file else module.__name__.encode())
    for fact in (_FORMAT, *facts):
        whole = isinstance(fact, Tensor)
        digest.update(fact.numpy().tobytes() if whole else json.dumps(fact).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def read_simulations(file: Path) -> Simulations | None:
    """Return the content of a cache, or None if it does not exist or is damaged."""
    try:
        stored = read_arrays(file)
        x, y = (torch.from_numpy(stored[name]) for name in "xy")
        found = Simulations(x, y, int(stored["dropped"]))
    except FileNotFoundError:
        return None
    except (*DAMAGE, TypeError):  # values of a type without tensor
        log.warning("the cache %s is damaged: simulating again", file)
        return None
    announce(f"{len(found.x):,} simulations from {file}")
    return found


def write_simulations(file: Path, made: Simulations) -> None:
    """Write a cache, whole or not at all; an error says that the folder cannot be written."""
    arrays = {"x": made.x.numpy(), "y": made.y.numpy(), "dropped": np.array(made.dropped)}
    with writable(file.parent):
        write_arrays(file, arrays)
