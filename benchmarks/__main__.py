"""Measure speed and memory and write benchmarks/results.md.

    python -m benchmarks [threads=2] [rounds=20] [only=affine,spline,...] [out=benchmarks]
                         [allocator=keeps]

Groups, in the order of the tables: affine, spline, spline_large, glow, precision, sampling, memory,
augment, startup. `benchmarks.quality` is a separate command, because it takes half an hour.
All libraries run with innflow.system.allocator, as every run of innflow does; allocator=default
leaves glibc as it is. Ratios are reliable on an idle machine only. The files are written after
each table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import augment as augmentation
from benchmarks import measure, memory, peers, precision, startup
from benchmarks.table import Table, describe, write
from benchmarks.timing import spread
from benchmarks.work import GLOW, MEMORY, WORKS
from innflow.errors import InnflowError
from innflow.system.allocator import keep_freed_memory

DEFAULTS = {
    "threads": "2",
    "rounds": "20",
    "least": "0.1",
    "only": "",
    "out": "benchmarks",
    "allocator": "keeps",
}
ABOUT = """Numbers in bold are medians over the rounds, with the quartiles in brackets.
In each round every library runs once, in an order that rotates; ratios are formed within a round.
The last layers of all coupling networks are drawn with seed 0, the data with seed 1."""


def read(words: Sequence[str]) -> dict[str, str]:
    """Parse the key=value words of the command line into settings.

    Raises:
        InnflowError: if a key is unknown.
    """
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise InnflowError(f"benchmarks: {unknown[0]} is unknown: takes {', '.join(DEFAULTS)}")
    return DEFAULTS | given


def augment(rounds: int) -> Table:
    """Measure batches per second of augmentation with innflow and with torchvision."""
    rates = augmentation.measure(rounds=rounds)
    theirs = list(rates.values())[-1]
    table = Table(
        "Augmentation, batches of 64 images of 64 x 64",
        "Flip, zoom, shear and rotation of a batch in memory.",
        ["", "batches per second", "times as fast as torchvision"],
    )
    for name, values in rates.items():
        factor = spread([one / other for one, other in zip(values, theirs, strict=True)])
        table.rows.append([name, spread(values), factor])
    return table


def plan(rounds: int, least: float, threads: int) -> Iterator[tuple[str, Callable[[], Table]]]:
    """Yield the group and the measurement of each table, in order."""
    for work in WORKS:
        yield work.group, partial(measure.training, work, rounds, least)
    yield "glow", partial(measure.training, GLOW, rounds, least)
    yield "precision", partial(precision.precision, GLOW)
    yield "sampling", partial(measure.sampling, GLOW, rounds, least)
    for work in MEMORY:
        yield "memory", partial(memory.memory, work, rounds, least)
    yield "augment", partial(augment, rounds)
    yield "startup", partial(startup.startup, min(rounds, 5), threads)


def main(words: Sequence[str]) -> None:
    """Run the selected measurements and write the results after every table."""
    settings = read(words)
    threads, rounds = int(settings["threads"]), int(settings["rounds"])
    torch.set_num_threads(threads)
    if settings["allocator"] == "keeps" and not keep_freed_memory():
        raise InnflowError(
            "benchmarks: allocator=keeps is not supported by this C library: use allocator=default"
        )
    measurements = list(plan(rounds, float(settings["least"]), threads))
    groups = list(dict.fromkeys(group for group, _ in measurements))
    wanted = settings["only"].split(",") if settings["only"] else groups
    unknown = sorted(set(wanted) - set(groups))
    if unknown:
        raise InnflowError(f"benchmarks: only={unknown[0]} is unknown: takes {', '.join(groups)}")
    peers.need(tuple(peers.PACKAGES))
    machine = describe(threads, ("innflow", *dict.fromkeys(peers.PACKAGES.values())))
    out = Path(settings.pop("out")) / "results"
    tables: list[Table] = []
    for group, take in measurements:
        if group in wanted:
            tables.append(take())
            print(tables[-1].markdown(), flush=True)
            write(out, "Speed and memory", ABOUT, machine, settings, tables)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"benchmarks: error: {error}")
