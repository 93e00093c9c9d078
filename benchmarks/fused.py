"""Speed-up by each fast implementation of `innflow.flow.fused`: writes the table fused.md.

    python -m benchmarks.fused [seconds=30] [only=NAME] [out=benchmarks/fused]

A training step (forward, loss, backward, Adam) with one thread, with all fast implementations and
without one of them. Variants alternate step by step, and each number is a ratio of medians of
processor time, so that other programs on the machine disturb all variants equally. The allocator
is set once per process, so its variants run alternately in separate processes.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.table import Table, describe, write
from innflow.flow import CouplingFlow, glow, vector
from innflow.flow.fused import dispatch, spline
from innflow.flow.fused.step import is_coupling_step
from innflow.flow.spline import Spline
from innflow.system.allocator import keep_freed_memory

Make = Callable[[], CouplingFlow]
SIZES: dict[str, tuple[Make, int, int]] = {
    "affine 2": (lambda: vector(2, 8, (64, 64)), 512, 0),
    "affine 20": (lambda: vector(20, 8, (64, 64)), 512, 0),
    "affine 8 given 4": (lambda: vector(8, 8, (64, 64), context=4), 512, 4),
    "affine 1280": (lambda: vector(1280, 8, (256, 256)), 128, 0),
    "spline 2": (lambda: vector(2, 8, (64, 64), "spline"), 512, 0),
    "spline 16 given 4": (lambda: vector(16, 8, (128, 128), "spline", 4), 512, 4),
    "Glow 3x32x32": (lambda: glow((3, 32, 32), 3, 8, 64), 64, 0),
}
"""Name -> flow, batch and context features, as in conf/experiment."""
LARGE: dict[str, tuple[Make, int, int]] = {
    "Glow 3x32x32": SIZES["Glow 3x32x32"],
    "affine 3072": (lambda: vector(3072, 8, (512, 512)), 64, 0),
}


REMOVED = (
    "Channels last: squeezes give this layout in any case; the implementation is kept for flows "
    "without a squeeze and for GPUs.",
    "Removed, because a training step became less than 10% faster (time of a step without it, "
    "relative to a step with it, when it was removed): halves of vectors not joined "
    "between couplings, "
    "1.04 on affine 2 and 1.02 on affine 1280; ActNorm multiplied into the 1x1 convolution, "
    "1.02 on Glow; "
    "the gradient of an affine coupling alone as one node, 1.03 on affine 2 and 0.96 on Glow; "
    "permutations whose gradient is a gather, 0.96 on affine 2.",
    "Removed: splines that are unrolled bin by bin for a compiler. With the plain formula, "
    "compiled forward and backward passes of spline 2 at batch 256 take 1.17 times as long "
    "(5.6 instead of 4.8 ms). No experiment compiles its flow.",
)


def rows_only(univariate: Spline, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Apply a spline to transposed parameters, with the gradient of autograd."""
    rows = spline._rows(parameters, univariate.parameters)
    y, log_slope = univariate.forward(spline._row(x)[None, None], rows[None])
    return spline._unrow(y[0, 0], x), spline._unrow(log_slope[0, 0], x)


def never(*_: Any) -> bool:
    """Return False."""
    return False


def affine_only(layers: Any, *others: Any) -> bool:
    """Return whether the layers are an affine coupling step."""
    return is_coupling_step(layers, *others) and type(layers[2].univariate) is not Spline


WITHOUT: dict[str, list[tuple[Any, str, Any]]] = {
    "all": [],
    "step": [(dispatch, "is_coupling_step", never)],
    "spline": [
        (dispatch, "is_coupling_step", affine_only),
        (dispatch, "_is_spline_coupling", never),
    ],
    "spline's gradient": [
        (dispatch, "is_coupling_step", affine_only),
        (spline, "forward", rows_only),
    ],
    "channels last": [(dispatch, "channels_last", lambda inputs: inputs)],
}
"""Variant -> functions to be replaced."""


@contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Replace attributes of modules inside."""
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(patch.object(*change))
        yield


def training_step(make: Make, batch: int, context: int) -> Callable[[], None]:
    """Return one step of maximum likelihood on random data."""
    torch.manual_seed(0)
    flow = make()
    for parameter in flow.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    x = torch.randn(batch, *flow.shape)
    given = torch.randn(batch, context) if context else None
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        z, logabsdet = flow(x, given)
        (0.5 * z.square().sum(1) - logabsdet).mean().backward()
        optimizer.step()

    return step


def measure(step: Callable[[], None], seconds: float) -> tuple[dict[str, float], int]:
    """Return the median processor time of a step of each variant, and the number of rounds."""
    times: dict[str, list[float]] = {name: [] for name in WITHOUT}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["all"]) < 7:
        for name, changes in WITHOUT.items():
            with replaced(changes):
                start = time.process_time()
                step()
                times[name].append(time.process_time() - start)
    return {name: statistics.median(found[2:]) for name, found in times.items()}, len(times["all"])


def child(name: str, allocator: str, steps: int = 8) -> float:
    """Return the median processor time of a step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fused", "child", name, allocator, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def in_child(name: str, allocator: str, steps: str) -> None:
    """Print the median processor time of a step."""
    torch.set_num_threads(1)
    if allocator == "keeps":
        keep_freed_memory()
    step, times = training_step(*LARGE[name]), []
    for _ in range(int(steps)):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    print(statistics.median(times[2:]))


def main(words: list[str]) -> None:
    """Measure and write the table."""
    settings = {"seconds": "30", "only": "", "out": "benchmarks/fused"}
    settings |= dict(word.split("=", 1) for word in words)
    torch.set_num_threads(1)
    layers = Table(
        "Fast implementations",
        "Processor time of a training step without one of them, relative to the step with all.",
        ["", "ms", "rounds", *(f"without {name}" for name in itertools.islice(WITHOUT, 1, None))],
        notes=list(REMOVED),
    )
    memory = Table(
        "Allocator",
        "Processor time of a training step that returns freed memory to the system, relative to "
        "one that keeps it; median of 3 pairs of processes.",
        ["", "without allocator"],
    )
    keep_freed_memory()
    for name, case in SIZES.items():
        if settings["only"] in name:
            found, rounds = measure(training_step(*case), float(settings["seconds"]))
            base = found.pop("all")
            ratios = [value / base for value in found.values()]
            layers.rows.append([name, 1000 * base, str(rounds), *ratios])
    for name in LARGE:
        if settings["only"] in name:
            pairs = [(child(name, "default"), child(name, "keeps")) for _ in range(3)]
            memory.rows.append([name, statistics.median(one / two for one, two in pairs)])
    about = "Made by `python -m benchmarks.fused` on a machine shared with other programs."
    out = Path(settings.pop("out"))
    write(out, "Fast implementations", about, describe(1, ()), settings, [layers, memory])
    print(layers.markdown(), memory.markdown(), sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        in_child(*sys.argv[2:])
    else:
        main(sys.argv[1:])
