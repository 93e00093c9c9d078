"""Interleaved timing: what is compared runs in turn, and ratios are formed within a round."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Times = dict[str, list[float]]
"""Name -> seconds of one call, one number a round."""

WARM_UP = 3
"""Calls before the first round: allocators, ActNorm, compilers."""


class Spread(NamedTuple):
    """The median of the rounds and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of a number per round."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return Spread(float(median), float(low), float(high))


def interleave(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    least: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Time every call once a round, in an order that rotates by one from round to round.

    Whatever else the machine does then meets all alike: what drifts slowly cancels in a ratio
    within the round, and no call always follows the same one.

    Args:
        calls: name -> what is timed.
        rounds: number of rounds.
        least: seconds that a measurement should take; shorter calls are repeated within it.
        clock: a monotonic clock in seconds.
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
    gc.freeze()  # what is here already stays: collections between the rounds pass over it
    for turn in range(rounds):
        gc.collect()
        gc.disable()  # a collection would be charged to whoever happens to run
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
    """Return how many times as long as `base` a call took, round by round."""
    return [one / other for one, other in zip(times[name], times[base], strict=True)]
