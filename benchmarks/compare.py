"""Compare the training steps of two checkouts of innflow in one run.

    python -m benchmarks.compare OLD [threads=2] [rounds=15] [only=affine,spline,...]
        [variants=innflow,innflow compiled,innflow reversible] [out=FILE]

OLD is a folder with another checkout, for example of `git worktree add`. Each checkout gets a
worker process; the parent process has one worker at a time compute one variant, in an order that
rotates from round to round, so that slow drifts of the machine cancel in the ratios.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NEW = Path(__file__).resolve().parents[1]
VARIANTS = ("bare networks", "innflow", "innflow compiled", "innflow reversible")
LEAST = 0.1
"""Seconds that one measurement takes at least; shorter steps are repeated."""


def serve() -> None:
    """Answer the parent process line by line: build the steps of a work, or time one of them."""
    import torch

    from benchmarks import measure, ours
    from benchmarks.work import GLOW, WORKS

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
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
                start = time.perf_counter()
                call()
                repeats[name] = max(1, math.ceil(LEAST / (time.perf_counter() - start)))
            print("built", flush=True)
        else:
            start = time.perf_counter()
            for _ in range(repeats[argument]):
                calls[argument]()
            print((time.perf_counter() - start) / repeats[argument], flush=True)


class Worker:
    """A process that computes the steps of one checkout."""

    def __init__(self, tree: Path, threads: int) -> None:
        paths = os.pathsep.join([str(tree / "src"), str(tree)])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
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


def quartiles(values: list[float]) -> str:
    """Return the median and the quartiles as text."""
    ordered = sorted(values)
    low, middle, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return f"**{middle:.3f}** ({low:.3f} to {high:.3f})"


def main(arguments: list[str]) -> None:
    """Measure and write the table."""
    options = dict(word.split("=", 1) for word in arguments if "=" in word)
    old = Path(next(word for word in arguments if "=" not in word)).resolve()
    threads, rounds = int(options.get("threads", 2)), int(options.get("rounds", 15))
    chosen = [group for group in options.get("only", "").split(",") if group]
    variants = options.get("variants", ",".join(VARIANTS[1:]))
    names = [VARIANTS[0], *variants.split(",")]
    workers = {"old": Worker(old, threads), "new": Worker(NEW, threads)}
    works = [each.split("|") for each in workers["new"].call("works").split("\t")]
    lines = [
        f"Settings: threads={threads}, rounds={rounds}. Ratios are formed within a round; median "
        "and quartiles.",
        "",
        "| work | variant | old, times the bare networks | new | step time new / old |",
        "|---|---|---|---|---|",
    ]
    for index, (group, work) in enumerate(works):
        if chosen and group not in chosen:
            continue
        for worker in workers.values():
            worker.call(f"build {index} {variants}")
        turns = [(tree, name) for name in names for tree in workers]
        times: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
        for turn in range(rounds):
            first = turn % len(turns)
            for tree, name in turns[first:] + turns[:first]:
                times[tree, name].append(float(workers[tree].call(f"time {name}")))
        for name in names[1:]:
            columns = [
                [a / b for a, b in zip(times[tree, name], times[tree, VARIANTS[0]], strict=True)]
                for tree in workers
            ]
            pairs = zip(times["new", name], times["old", name], strict=True)
            columns.append([a / b for a, b in pairs])
            lines.append(f"| {work} | {name} | {' | '.join(map(quartiles, columns))} |")
            print(lines[-1], flush=True)
        Path(options.get("out", "benchmarks/compare.md")).write_text("\n".join(lines) + "\n")
    for worker in workers.values():
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        worker.process.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        serve()
    else:
        main(sys.argv[1:])
