"""Peak memory of a training step as a function of depth, ordinary and reversible.

On CPU torch's profiler reports every allocation and release of torch's own allocator, so the
numbers are exact and the same in every run. Memory that remains after the step (the gradients of
the weights) is left out; the peak of the rest is what depth costs in addition to weights and
gradients. On CUDA it is the peak of the caching allocator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from benchmarks import ours, peers
from benchmarks.measure import batch, build, step_of
from benchmarks.table import Table
from benchmarks.timing import clock_of, interleave, ratios, spread
from benchmarks.work import OURS, REVERSIBLE, Work

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it prints its own start and stop to stderr

DEPTHS = (8, 64)
SLOWER = f"{OURS} {REVERSIBLE}"


def allocations(call: Callable[[], object]) -> list[tuple[int, int]]:
    """Return the allocations (+) and releases (-) of a call in order, as (address, bytes)."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results: Any = profiler.profiler.kineto_results
    found, left = [], list(results.experimental_event_tree())
    while left:
        event = left.pop()
        left += event.children
        if event.tag == _EventType.Allocation:
            found.append((event.start_time_ns, event.extra_fields))
    found.sort(key=lambda pair: pair[0])
    return [(fields.ptr, fields.alloc_size) for _, fields in found]


def peak_bytes(call: Callable[[], object], device: str = "cpu") -> int:
    """Return the peak of the bytes that a call both allocates and releases."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    changes = allocations(call)
    open_at: dict[int, int] = {}
    passing: set[int] = set()
    for index, (address, size) in enumerate(changes):
        if size > 0:
            open_at[address] = index
        elif address in open_at:
            passing |= {open_at.pop(address), index}
    held = peak = 0
    for index in sorted(passing):
        held += changes[index][1]
        peak = max(peak, held)
    return peak


def step(name: str, work: Work, nets: Sequence[nn.Module]) -> Callable[[], None]:
    """Return the training step of a contender, warmed up and without gradients."""
    flow = build(name, work, nets)
    take = step_of(flow, batch(work))
    take()
    flow.zero_grad(set_to_none=True)
    return take


def memory(work: Work, rounds: int, least: float, depths: tuple[int, int] = DEPTHS) -> Table:
    """Measure the peak memory of a step at two depths and the time of the reversible step."""
    few, many = depths
    table = Table(
        f"Memory: {replace(work, depth=few)}, and with {many}",
        "Peak memory of a training step in fp32 without weights and gradients, counted by torch's "
        "profiler, and the time of the reversible step relative to the ordinary one.",
        ["", f"MB at {few}", f"MB at {many}", "grows", f"time at {few}", f"time at {many}"],
    )
    names = work.contenders
    peers.need(names)
    cells: dict[str, list[Any]] = {name: [] for name in names}
    times: list[Any] = []
    for depth in depths:
        deep = replace(work, depth=depth)
        nets = ours.networks(deep)
        calls = {name: step(name, deep, nets) for name in names}
        for name, call in calls.items():
            cells[name].append(peak_bytes(call, work.device) / 1e6)
        if SLOWER in calls:
            both = {name: calls[name] for name in (OURS, SLOWER)}
            taken = interleave(both, rounds, least, clock_of(work.device))
            times.append(spread(ratios(taken, SLOWER, OURS)))
    for name, (low, high) in cells.items():
        slower = times if name == SLOWER else [None, None]
        table.rows.append([name, low, high, high / low, *slower])
    return table
