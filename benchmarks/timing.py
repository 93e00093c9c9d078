"""Interleaved timing: all calls run in turn, and ratios are formed within a round."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

Times = dict[str, list[float]]
"""Name -> seconds of one call in every round."""

WARM_UP = 3
"""Calls before the first round, for allocators, ActNorm and compilers."""


class Spread(NamedTuple):
    """The median over the rounds and the quartiles."""

    median: float
    low: float
    high: float

    def plain(self) -> dict[str, float]:
        """Return the numbers by name, with five significant digits."""
        return {name: float(f"{value:.5g}") for name, value in self._asdict().items()}


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of one number per round."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return Spread(float(median), float(low), float(high))


def clock_of(device: str) -> Callable[[], float]:
    """Return a clock in seconds that waits until the device has done its work."""
    if not device.startswith("cuda"):
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    least: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Time every call once a round, in an order that rotates by one from round to round.

    Other load on the machine then affects all calls: slow drift cancels in a ratio within the
    round, and no call always follows the same one.

    Args:
        calls: Name -> call to be timed.
        rounds: Number of rounds.
        least: Seconds of one measurement at least; shorter calls are repeated.
        clock: A monotonic clock in seconds.
    """
    repeats = {}
    for name, call in calls.items():
        for _ in range(WARM_UP):
            start = clock()
            call()
            seconds = clock() - start
        repeats[name] = max(1, math.ceil(least / max(seconds, 1e-6)))
    names = list(calls)
    times: Times = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # existing objects are skipped by the collections between rounds
    for turn in range(rounds):
        gc.collect()
        gc.disable()  # else a collection would count for the call that runs at the time
        try:
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                start = clock()
                for _ in range(repeats[name]):
                    calls[name]()
                times[name].append((clock() - start) / repeats[name])
        finally:
            gc.enable()
    gc.unfreeze()
    return times


def ratios(times: Times, name: str, base: str) -> list[float]:
    """Return the time of a call divided by that of `base`, for every round."""
    return [one / other for one, other in zip(times[name], times[base], strict=True)]
