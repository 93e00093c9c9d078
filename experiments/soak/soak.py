"""Resource use over many small runs, evaluations and scorings in one process.

    python experiments/soak/soak.py 30 OUT

Every round does the same work. OUT gets soak.csv (a row for each round), soak.png and soak.json
(trends). Exit code 1 means that a resource grew.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import theilslopes

from innflow.command.evaluate import evaluate
from innflow.command.posterior import posterior
from innflow.command.sample import sample
from innflow.command.score import score
from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.errors import InnflowError
from innflow.run.train import run

QUANTITIES = {
    "rss_mib": "resident memory, MiB",
    "open_files": "open files",
    "threads": "threads",
    "children": "child processes",
    "temporary": "files in the temporary folder",
    "shared": "files in shared memory",
}
LEAST_ROUNDS = 9
"""Number of rounds from which on trends are tested."""
LEAST_GROWTH = {"rss_mib": 0.01}
"""Smallest increase that counts as growth, relative to the level; for counts it is 0.5."""
EVERY = 5
"""Every so many rounds commands also run in processes of their own."""

SMALL = ("+debug=fdr", "model.depth=1")
VECTORS = (
    *("+experiment=moons", *SMALL, "data.n=600", "data.n_test=40", "model.hidden=[8]"),
    *("analysis.density2d.resolution=40", "analysis.density2d.samples=100"),
)
IMAGES = (
    *("+experiment=cats_ood", *SMALL, "data.size=8", "data.batch_size=8"),
    *(
        "companions.general=null",
        "model.levels=2",
        "model.hidden=8",
        "precision=32",
        "analysis.scores.resamples=20",
    ),
    *("analysis.samples.components=[2]", "analysis.latent_cloud.samples=20"),
    "analysis.latent_cloud.components=4",
)
ARM = (
    *("data=arm", "app=inverse", "partition=given_y", "latent=observed", "score=none"),
    *("analysis=none", *SMALL, "data.n=600", "data.n_test=40", "data.batch_size=64"),
)


def measure(temporary: Path, before: frozenset[str]) -> dict[str, float]:
    """Return the resources of this process after garbage collection and trimming of the heap.

    Args:
        temporary: Folder of temporary files.
        before: Files of shared memory at the start.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.is_dir()]
    children = [task.joinpath("children").read_text().split() for task in tasks]
    return {
        "rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "open_files": len(os.listdir("/proc/self/fd")),
        "threads": len(tasks),
        "children": sum(map(len, children)),
        "temporary": sum(1 for path in temporary.rglob("*") if path.is_file()),
        "shared": len(shared_memory() - before),
    }


def shared_memory() -> frozenset[str]:
    """Return the names of the files in shared memory."""
    folder = Path("/dev/shm")
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()


def draw_photographs(root: Path) -> None:
    """Write noise images: training cats, test cats, and test dogs of lower contrast."""
    rng = np.random.default_rng(0)
    for name, count, dark in (("train/cat", 40, 0), ("test/cat", 16, 0), ("test/dog", 9, 90)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(dark, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


def train(folder: Path, *overrides: str) -> None:
    """Train as innflow-train does."""
    cfg = compose_config("train", [*overrides, f"run_dir={folder}"])
    run(to_plain(cfg), folder, list(overrides))


def ask(command: Callable[..., None], name: str, *arguments: str, more: Sequence[str] = ()) -> None:
    """Run the function of a command on a finished run."""
    cfg = compose_config(f"command/{name}", [f"command.{argument}" for argument in arguments])
    command(to_plain(cfg["command"]), list(more))


def work(folder: Path, photographs: Path, number: int) -> None:
    """Do one round in this process, every few rounds also in others, and remove its files."""
    folder.mkdir()
    try:
        images, vectors, arm = folder / "images", folder / "vectors", folder / "arm"
        train(images, *IMAGES, f"data.root={photographs}")
        train(vectors, *VECTORS)
        train(arm, *ARM, "data.cache_dir=null")
        few = ("study.train_limit=20", "analysis.scores.resamples=20", "analysis.samples=null")
        ask(evaluate, "eval", f"run={images}", f"out={folder / 'eval'}", more=few)
        ask(sample, "sample", f"run={vectors}", "n=50", f"out={folder / 'sample'}")
        table = f"out={folder / 'scores.csv'}"
        ask(score, "score", f"run={images}", f"input={photographs}/test", table)
        (folder / "y.csv").write_text("y0,y1\n1,0\n")
        asked = (f"run={arm}", f"y={folder / 'y.csv'}", "n=50", f"out={folder / 'posterior'}")
        ask(posterior, "posterior", *asked)
        broken = shutil.copytree(vectors, folder / "broken")
        (broken / "checkpoints/best.ckpt").write_bytes(bytes(1000))
        for wrong in (f"run={folder / 'none'}", f"run={broken}", f"run={arm}"):
            with suppress(InnflowError):
                ask(sample, "sample", wrong, "n=5", f"out={folder / 'wrong'}")
                raise AssertionError(wrong)
        if number % EVERY == 0:
            call("innflow-train", *VECTORS, f"run_dir={folder / 'other'}")
            call("innflow-score", f"run={images}", f"input={photographs}/test", table)
    finally:
        shutil.rmtree(folder)


def call(command: str, *arguments: str) -> None:
    """Run a command in a process of its own."""
    line = [str(Path(sys.executable).with_name(command)), *arguments]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def soak(
    out: Path, minutes: float, rounds: int | None, do: Callable[[Path, Path, int], None] = work
) -> list[dict[str, float]]:
    """Do rounds until the time is over and write a row of soak.csv after each.

    Args:
        out: A new folder.
        minutes: No round begins after this time.
        rounds: Largest number of rounds; by default as many as the time allows.
        do: Function of one round: a folder to use, the photographs, the number of the round.
    """
    out.mkdir(parents=True)
    temporary = out / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    os.environ["INNFLOW_CACHE"] = str(out / "cache")
    tempfile.tempdir = None  # else Python uses the folder that it has cached
    register_resolvers()
    draw_photographs(out / "photographs")
    before, started = shared_memory(), time.monotonic()
    rows: list[dict[str, float]] = []
    with (out / "soak.log").open("w") as log, (out / "soak.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["round", "minutes", *QUANTITIES])
        writer.writeheader()
        while (time.monotonic() - started) / 60 < minutes and len(rows) != rounds:
            with redirect_stdout(log):
                do(out / "round", out / "photographs", len(rows))
            elapsed = (time.monotonic() - started) / 60
            row = {"round": len(rows), "minutes": elapsed, **measure(temporary, before)}
            rows.append(row)
            writer.writerow(row)
            file.flush()
    return rows


def judge(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return the trend of every quantity over the last two thirds of the rounds.

    The slope is the Theil-Sen estimate (the median over all pairs of rounds) with its 95% interval.
    A quantity grew if the interval is above 0 and the increase exceeds `LEAST_GROWTH`.
    """
    last = rows[len(rows) // 3 :]
    verdict = {}
    for name in QUANTITIES:
        x = np.array([row["round"] for row in last])
        y = np.array([row[name] for row in last])
        slope, _, low, high = theilslopes(y, x, alpha=0.95)
        least = LEAST_GROWTH[name] * np.median(y) if name in LEAST_GROWTH else 0.5
        grew = low > 0 and slope * (x[-1] - x[0]) > least
        trend = {"per_round": slope, "low": low, "high": high, "level": np.median(y)}
        verdict[name] = {**{key: float(v) for key, v in trend.items()}, "grew": bool(grew)}
    return verdict


def draw(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw each quantity as a function of the round."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(2, 3).flat, QUANTITIES.items(), strict=True):
        values = [row[name] for row in rows]
        axes.plot([row["round"] for row in rows], values, ".-", color="#0072b2")
        axes.axvspan(rows[len(rows) // 3]["round"], rows[-1]["round"], color="0.95", zorder=0)
        room = max(0.05 * max(values), 1.0)
        axes.set(title=label, ylim=(max(min(values) - room, 0), max(values) + room))
    figure.supxlabel("round (grey: used for the trend)")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds, write the results, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, help="largest number of rounds")
    asked = parser.parse_args(arguments)
    out = asked.out.absolute()
    if out.exists():
        parser.error(f"{asked.out}: exists already, give a new folder")
    rows = soak(out, asked.minutes, asked.rounds)
    draw(rows).savefig(out / "soak.png", dpi=150)
    if len(rows) < LEAST_ROUNDS:
        sys.stdout.write(f"{len(rows)} rounds: too few for trends, which need {LEAST_ROUNDS}\n")
        return 0
    verdict = judge(rows)
    (out / "soak.json").write_text(json.dumps({"rounds": len(rows), **verdict}, indent=1) + "\n")
    for name, trend in verdict.items():
        sys.stdout.write(
            f"{QUANTITIES[name]:<30} {trend['level']:>9.1f} {trend['per_round']:>+9.3f} a round "
            f"[{trend['low']:+.3f}, {trend['high']:+.3f}]{'  GREW' * trend['grew']}\n"
        )
    return int(any(trend["grew"] for trend in verdict.values()))


if __name__ == "__main__":
    sys.exit(main())
