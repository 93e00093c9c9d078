"""Measure speed and memory and write benchmarks/results.md.

    python -m benchmarks [threads=2] [rounds=20] [only=affine,spline,...] [without=compiled,...]
                         [limit=180] [device=cpu] [quick=false] [allocator=keeps] [out=benchmarks]

`only` names groups, in the order of the tables: affine, spline, spline_large, glow, precision,
sampling, memory, augment, startup. `without` leaves out contenders by option or library. `limit` is
the time limit of the compilation of one flow in seconds. `quick=true` measures tiny flows, to
check that everything runs. All libraries run with innflow.system.allocator, as every run of
innflow does; allocator=default leaves glibc as it is. Ratios are reliable on an idle machine only.
The files are written after each table; tables of earlier runs on the same machine stay in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks import augment as augmentation
from benchmarks import measure, memory, peers, precision, startup
from benchmarks.table import Table, describe, read, write
from benchmarks.timing import spread
from benchmarks.work import COMPILED, GLOW, LIBRARIES, MEMORY, SAMPLING, WORKS, Work, split
from innflow.errors import InnflowError
from innflow.system.allocator import keep_freed_memory

DEFAULTS = {
    "threads": "2",
    "rounds": "20",
    "least": "0.1",
    "only": "",
    "without": "",
    "limit": "180",
    "device": "cpu",
    "quick": "false",
    "out": "benchmarks",
    "allocator": "keeps",
}
ABOUT = """Numbers in bold are medians over the rounds, with the quartiles in brackets.
In each round every library runs once, in an order that rotates; ratios are formed within a round.
All contenders of a table have copies of the same coupling networks, and the same data, precision
and memory format. `bf16`: coupling networks, and nothing else, under bf16 autocast. `compiled`:
both directions by `torch.compile`; parts of a flow that it cannot compile run as they are.
The last layers of all coupling networks are drawn with seed 0, the data with seed 1."""


def settings_of(words: Sequence[str]) -> dict[str, str]:
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


def adapted(work: Work, settings: Mapping[str, str]) -> Work:
    """Return a work on the device of the settings, without the contenders left out there."""
    left_out = set(settings["without"].split(","))
    if settings["quick"] == "true":
        left_out.add(COMPILED)
        shape = (4, 4, 4) if work.is_image else (4,)
        work = replace(work, shape=shape, batch=4, hidden=8, depth=2)
    names = []
    for name in work.contenders:
        library, options = split(name)
        if not left_out & {library, *options}:
            names.append(name)
    return replace(work, contenders=tuple(names), device=settings["device"])


def plan(settings: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], Table]]]:
    """Yield the group and the measurement of each table, in order."""
    quick = settings["quick"] == "true"
    rounds, least = int(settings["rounds"]), float(settings["least"])
    limit = float(settings["limit"])
    for work in dict.fromkeys(adapted(work, settings) for work in (*WORKS, GLOW)):
        yield work.group, partial(measure.training, work, rounds, least, limit)
    steps, images = (2, 16) if quick else (200, 512)
    yield "precision", partial(precision.precision, adapted(GLOW, settings), steps, images)
    images = 8 if quick else measure.IMAGES
    small = adapted(SAMPLING, settings)
    yield "sampling", partial(measure.sampling, small, rounds, least, images, limit)
    for work in MEMORY:
        depths = (2, 4) if quick else memory.DEPTHS
        yield "memory", partial(memory.memory, adapted(work, settings), rounds, least, depths)
    yield "augment", partial(augment, rounds)
    yield "startup", partial(startup.startup, min(rounds, 5), int(settings["threads"]))


def main(words: Sequence[str]) -> None:
    """Run the selected measurements and write the results after every table."""
    settings = settings_of(words)
    if settings["quick"] == "true":
        settings |= {"rounds": "2", "least": "0"}
    threads = int(settings["threads"])
    torch.set_num_threads(threads)
    if settings["allocator"] == "keeps" and not keep_freed_memory():
        raise InnflowError(
            "benchmarks: allocator=keeps is not supported by this C library: use allocator=default"
        )
    measurements = list(plan(settings))
    groups = list(dict.fromkeys(group for group, _ in measurements))
    wanted = settings["only"].split(",") if settings["only"] else groups
    unknown = sorted(set(wanted) - set(groups))
    if unknown:
        raise InnflowError(f"benchmarks: only={unknown[0]} is unknown: takes {', '.join(groups)}")
    left_out = set(settings["without"].split(","))
    needed = [name for name in LIBRARIES if name in peers.PACKAGES and name not in left_out]
    peers.need(needed)
    packages = dict.fromkeys(peers.PACKAGES[name] for name in needed)
    machine = describe(threads, ("innflow", *packages), settings["device"])
    out = Path(settings["out"]) / "results"
    tables = {table.title: table for table in read(out, machine)}
    for group, take in measurements:
        if group in wanted:
            table = take()
            table.notes.append(f"{settings['rounds']} rounds")
            tables[table.title] = table
            print(table.markdown(), flush=True)
            shown = {name: settings[name] for name in ("allocator", "device")}
            write(out, "Speed and memory", ABOUT, machine, shown, list(tables.values()))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"benchmarks: error: {error}")
