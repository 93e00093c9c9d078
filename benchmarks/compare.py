"""Compare the training steps of two checkouts of innflow in one run.

    python -m benchmarks.compare OLD [threads=2] [rounds=15] [only=affine,spline,...]
        [variants=innflow,innflow compiled,innflow reversible] [clock=wall] [cold=0] [out=FILE]

OLD is a folder with another checkout, for example of `git worktree add`. Each checkout gets a
worker process; the parent process has one worker at a time compute one variant, in an order that
rotates from round to round, so that slow drifts of the machine cancel in the ratios. On a machine
shared with other programs use `clock=processor threads=1`. With `cold=N` the compilation is timed
instead, N times in fresh processes with empty caches.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEW = Path(__file__).resolve().parents[1]
VARIANTS = ("bare networks", "innflow", "innflow compiled", "innflow reversible")
LEAST = 0.1
"""Seconds that one measurement takes at least; shorter steps are repeated."""


def processor_time() -> float:
    """Return the processor time of this process and of those that it has waited for, in seconds."""
    return sum(os.times()[:4])


def serve() -> None:
    """Answer the parent process line by line: build the steps of a work, or time one of them."""
    import torch

    from benchmarks import measure, ours
    from benchmarks.work import GLOW, WORKS
    from innflow.system.allocator import keep_freed_memory

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    wall = os.environ["CLOCK"] == "wall"
    clock = time.perf_counter if wall else time.process_time
    compilation_clock = time.perf_counter if wall else processor_time
    keep_freed_memory()
    works = [*WORKS, GLOW]
    calls: dict[str, Callable[[], None]] = {}
    repeats: dict[str, int] = {}
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "works":
            print("\t".join(f"{work.group}|{work}" for work in works), flush=True)
        elif command == "build":
            index, _, names = argument.partition(" ")
            work = works[int(index)]
            torch.compiler.reset()
            nets, x = ours.networks(work), measure.batch(work)
            calls = {VARIANTS[0]: measure.bare_step(ours.Bare(work, nets))}
            for name in names.split(","):
                calls[name] = measure.step_of(measure.build(name, work, nets), x)
            for name, call in calls.items():
                call()
                call()
                start = clock()
                call()
                repeats[name] = max(1, math.ceil(LEAST / (clock() - start)))
            print("built", flush=True)
        elif command == "compile":
            work = works[int(argument)]
            flow: Any = measure.build("innflow compiled", work, ours.networks(work))
            x = measure.batch(work)
            start = compilation_clock()
            measure.step_of(flow, x)()
            middle = compilation_clock()
            with torch.no_grad():
                flow.inverse(x.flatten(1))
            print(middle - start, compilation_clock() - middle, flush=True)
        else:
            start = clock()
            for _ in range(repeats[argument]):
                calls[argument]()
            print((clock() - start) / repeats[argument], flush=True)


class Worker:
    """A process that computes the steps of one checkout."""

    def __init__(self, tree: Path, threads: int, clock: str, cache: str = "") -> None:
        paths = os.pathsep.join([str(tree / "src"), str(tree)])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
        environment |= {"CLOCK": clock, **({"TORCHINDUCTOR_CACHE_DIR": cache} if cache else {})}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "worker"],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, line: str) -> str:
        """Send a line and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"the worker of {self.process.args} ended at: {line}")
        return answer

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compilation(tree: Path, threads: int, clock: str, index: int) -> list[float]:
    """Return the seconds of the first training step and of the first inverse of a new process."""
    with tempfile.TemporaryDirectory() as cache:
        worker = Worker(tree, threads, clock, cache)
        seconds = worker.call(f"compile {index}").split()
        worker.end()
    return [float(value) for value in seconds]


def compilations(trees: list[Path], threads: int, clock: str, index: int, count: int) -> list[str]:
    """Compile a flow in new processes of each tree in turn, and return the cells of its rows."""
    found = [[compilation(tree, threads, clock, index) for tree in trees] for _ in range(count)]
    rows = []
    for number, direction in enumerate(("training step", "inverse")):
        columns = [[f"{pair[tree][number]:.1f}" for pair in found] for tree in (0, 1)]
        rows.append(f"{direction} | {' | '.join(map(', '.join, columns))}")
    return rows


def quartiles(values: list[float]) -> str:
    """Return the median and the quartiles as text."""
    ordered = sorted(values)
    low, middle, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return f"**{middle:.3f}** ({low:.3f} to {high:.3f})"


def steps(workers: dict[str, Worker], index: int, names: list[str], rounds: int) -> list[str]:
    """Time the training steps of each worker in turn, and return the cells of their rows."""
    for worker in workers.values():
        worker.call(f"build {index} {','.join(names[1:])}")
    turns = [(tree, name) for name in names for tree in workers]
    times: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
    for turn in range(rounds):
        first = turn % len(turns)
        for tree, name in turns[first:] + turns[:first]:
            times[tree, name].append(float(workers[tree].call(f"time {name}")))
    rows = []
    for name in names[1:]:
        columns = [
            [a / b for a, b in zip(times[tree, name], times[tree, names[0]], strict=True)]
            for tree in workers
        ]
        pairs = zip(times["new", name], times["old", name], strict=True)
        columns.append([a / b for a, b in pairs])
        rows.append(f"{name} | {' | '.join(map(quartiles, columns))}")
    return rows


def main(arguments: list[str]) -> None:
    """Measure and write the table."""
    options = dict(word.split("=", 1) for word in arguments if "=" in word)
    old = Path(next(word for word in arguments if "=" not in word)).resolve()
    threads, rounds = int(options.get("threads", 2)), int(options.get("rounds", 15))
    clock, cold = options.get("clock", "wall"), int(options.get("cold", 0))
    chosen = [group for group in options.get("only", "").split(",") if group]
    names = [VARIANTS[0], *options.get("variants", ",".join(VARIANTS[1:])).split(",")]
    workers = {"old": Worker(old, threads, clock), "new": Worker(NEW, threads, clock)}
    works = [each.split("|") for each in workers["new"].call("works").split("\t")]
    if cold:
        columns, about = "direction | old | new", f"cold={cold}. Seconds of each process"
    else:
        columns = "variant | old, times the bare networks | new | step time new / old"
        about = f"rounds={rounds}. Ratios are formed within a round; median and quartiles"
    lines = [f"Settings: threads={threads}, clock={clock}, {about}."]
    lines += ["", f"| work | {columns} |", f"|---|{'---|' * (columns.count('|') + 1)}"]
    for index, (group, work) in enumerate(works):
        if chosen and group not in chosen:
            continue
        if cold:
            rows = compilations([old, NEW], threads, clock, index, cold)
        else:
            rows = steps(workers, index, names, rounds)
        lines += [f"| {work} | {row} |" for row in rows]
        print(*lines[-len(rows) :], sep="\n", flush=True)
        Path(options.get("out", "benchmarks/compare.md")).write_text("\n".join(lines) + "\n")
    for worker in workers.values():
        worker.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        serve()
    else:
        main(sys.argv[1:])
