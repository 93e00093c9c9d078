"""The page of `benchmarks.quality`, made from the stored runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.glows import DIFFERENCES
from benchmarks.table import Cell, Table
from benchmarks.work import OURS, split

Run = dict[str, Any]
ABOUT = """Test bound: bits per dim of the test set, mean over eight seeded draws of uniform
dequantization noise, an upper bound of the code length. Centre: at the bin centres, not a bound.
Numbers are means over seeds and, after ±, standard deviations. One loop trains all libraries, with
the same batches, flips and noise for each seed, for the same time on the same cores, and loads the
weights with the best validation bound. The validation set is evaluated at equal intervals of steps,
and this time is included. Batches with a non-finite loss are skipped. zuko has no image flows."""
TITLES = {
    "equal": "Equal settings",
    "own": "Each library's own settings",
}
CLOCKS = {"wall": "wall-clock time", "cpu": "processor time"}
HOW = {
    "equal": "The same optimizer, schedule, clipping, batch, precision (fp32 but for bf16 rows), "
    "memory format, sizes, augmentation and choice of weights.",
    "own": "Optimizer, schedule and clipping of each library's own example or experiment. Those of "
    "innflow were chosen on the validation set of these cats, those of the others were not.",
}


def seconds_to(run: Run, target: float) -> float | None:
    """Return the seconds after which the validation bound reached the target, or None.

    Between two evaluations it is interpolated linearly.
    """
    before: tuple[float, float] | None = None
    for seconds, _, bound in run["log"]:
        if bound <= target:
            if before is None or before[1] <= bound:
                return seconds
            share = (before[1] - target) / (before[1] - bound)
            return before[0] + share * (seconds - before[0])
        before = seconds, bound
    return None


def mean(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean and, of several values, their standard deviation."""
    text = f"{statistics.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def minutes_to(runs: Sequence[Run], target: float) -> list[float]:
    """Return the minutes to the target of each run, none if one of them has not reached it."""
    found = [seconds_to(run, target) for run in runs]
    return [value / 60 for value in found if value is not None] if None not in found else []


def results(title: str, about: str, groups: dict[str, list[Run]], target: float) -> Table:
    """Return the table of bits per dim and of the time to the target, one row a contender."""
    times = {name: minutes_to(runs, target) for name, runs in groups.items()}
    peers = [statistics.mean(t) for name, t in times.items() if t and split(name)[0] != OURS]
    limit = next(iter(groups.values()))[0]["minutes"]
    table = Table(
        title,
        about,
        [
            *("", "seeds", "test bound", "centre", "best validation bound", "steps", "parameters"),
            *(f"minutes to {target}", "best peer's time / this"),
        ],
    )
    for name, runs in groups.items():
        factor: Cell = None
        if peers and times[name]:
            factor = f"{min(peers) / statistics.mean(times[name]):.2f}"
        skipped = sum(run["skipped"] for run in runs)
        if skipped:
            table.notes.append(f"{name}: {skipped} batches with a non-finite loss skipped")
        table.rows.append(
            [
                name,
                ", ".join(str(run["seed"]) for run in runs),
                *(mean([run[key] for run in runs]) for key in ("test_bpd", "test_bpd_centre")),
                mean([run["val_bpd"] for run in runs]),
                f"{statistics.mean(run['steps'] for run in runs):,.0f}",
                runs[0]["parameters"],
                mean(times[name], 1) if times[name] else f"not in {limit:g}",
                factor,
            ]
        )
    share = min(run["cpu_seconds"] / run["seconds"] for runs in groups.values() for run in runs)
    table.notes.append(f"Processor time is at least {100 * share:.0f}% of the time of every run.")
    return table


def configurations(kind: str, groups: dict[str, list[Run]]) -> Table:
    """Return the table of settings, one row a contender."""
    table = Table(
        f"{TITLES[kind]}: what they are",
        "In the order of the levels: couplings and channels of the coupling networks.",
        [
            "",
            "couplings",
            "channels",
            "batch",
            "optimizer",
            "schedule",
            "clipping",
            "other",
            "source",
        ],
    )
    for name, runs in groups.items():
        given = runs[0]["configuration"]
        options = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in given["options"].items()
        )
        cosine = (
            f"warm-up {100 * given['warmup']:g}% of the time, then cosine to {given['final']:g}"
        )
        other = [
            "bf16" if given["bf16"] else "fp32",
            "channels last" if given["channels_last"] else "contiguous",
            "flip" if given["flip"] else "no augmentation",
            *(["Haar wavelets"] if given["haar"] else []),
        ]
        table.rows.append(
            [
                name,
                "/".join(map(str, given["depth"])),
                "/".join(map(str, given["hidden"])),
                str(given["batch"]),
                f"{given['optimizer']} ({options})",
                "constant" if given["final"] == 1 and not given["warmup"] else cosine,
                f"{given['clip']:g}" if given["clip"] else "none",
                ", ".join(other),
                given["source"],
            ]
        )
    return table


def page(runs: Sequence[Run], target: float) -> str:
    """Return the page: two tables for each kind of settings, data, time and machine."""
    kinds = {}
    for run in runs:
        machine = "; ".join(f"{name} {value}" for name, value in run["machine"].items())
        key = (run["data"], run["size"], run["minutes"], run["every"], run["clock"], machine)
        kinds.setdefault(key, []).append(run)
    parts = [f"# Bits per dim after equal time, and time to {target}", "", ABOUT, ""]
    for (data, size, minutes, every, clock, machine), members in kinds.items():
        sets = ", ".join(
            f"{members[0][f'{part}_images']:,} {part}" for part in ("train", "val", "test")
        )
        for kind in TITLES:
            groups: dict[str, list[Run]] = {}
            for run in sorted(members, key=lambda run: run["seed"]):
                if run["settings"] == kind:
                    groups.setdefault(run["contender"], []).append(run)
            if groups:
                about = (
                    f"{HOW[kind]}\n\n{minutes:g} min of {CLOCKS[clock]} a run, evaluated every "
                    f"{every} steps; {sets} images.\nOn {machine}."
                )
                title = f"{TITLES[kind]}: {data}, {size} x {size}, {minutes:g} min"
                parts.append(results(title, about, groups, target).markdown())
                parts.append(configurations(kind, groups).markdown())
    libraries = {split(run["contender"])[0] for run in runs}
    lines = [f"- {name}: {text}." for name, text in DIFFERENCES.items() if name in libraries]
    return "\n".join([*parts, "## What the Glows do not share", "", *lines, ""])
