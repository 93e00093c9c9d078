"""Hostile arguments of the commands on finished runs, and spoilt folders of sweeps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st

from chaos.explore import explore
from chaos.sandbox import require
from chaos.settings import share
from chaos.values import damaged, misspelt, mutated, typed, values

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

GIVEN: dict[str, dict[str, str]] = {
    "innflow-score": {"run": "run", "input": "p.csv", "out": "out.csv", "ckpt": "best"},
    "innflow-sample": {"run": "run", "n": "3", "temperature": "0.5", "seed": "1", "out": "out"},
    "innflow-posterior": {"run": "arm", "y": "y.csv", "n": "3", "out": "out", "seed": "2"},
    "innflow-compare": {"runs": "[arm,arm]", "y": "y.csv", "out": "out.json", "seed": "2"},
    "innflow-eval": {"run": "run", "out": "out", "seed": "3", "data.n_test": "30"},
    "innflow-sweep-report": {"dir": "sweep", "metric": "val/nll", "mode": "min"},
}
OTHERS = ("device", "trust", "truth", "ckpt", "data", "analysis", "score", "study.quick", "data.n")


def lay_out(here: Path, moons_run: Path, arm_run: Path) -> None:
    """Lay out what the commands take."""
    shutil.copytree(moons_run, here / "run")
    shutil.copytree(arm_run, here / "arm")
    shutil.copytree(moons_run, here / "sweep/0")
    (here / "p.csv").write_text("a,b\n1,2\n")
    (here / "y.csv").write_text("y0,y1\n1,0\n")


def check_output(here: Path, command: str) -> None:
    """Check what a command has written, where it was told to or in the run."""
    if command == "innflow-sample":
        found = list(here.rglob("samples.npz"))
        require(found, "drew no samples")
        with np.load(found[0]) as file:
            require(np.isfinite(file["x"]).all(), "a sample is not finite")
    elif command == "innflow-posterior":
        found = list(here.rglob("posterior.npz"))
        require(found, "drew no posterior")
        with np.load(found[0]) as file:
            require(np.isfinite(file["x"]).all(), "a draw is not finite")
    elif command == "innflow-eval":
        found = [
            path
            for path in here.rglob("metrics.json")
            if path.parent.name not in ("run", "arm", "0")
        ]
        require(found, "wrote no metrics.json")
        metrics = json.loads(found[0].read_text())
        require(all(np.isfinite(value) for value in metrics.values()), "a metric is not finite")


def test_arguments(case, moons_run, arm_run):
    @st.composite
    def command_lines(draw: Any) -> list[str]:
        command = draw(st.sampled_from(list(GIVEN)))
        given = dict(GIVEN[command])
        key = draw(st.one_of(st.sampled_from(list(given)), st.sampled_from((*given, *OTHERS))))
        given[key] = draw(typed())
        line = [f"{key}={value}" for key, value in given.items()]
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(line) - 1))
            line[at] = draw(
                st.one_of(
                    st.sampled_from(("+", "++", "~", "--", "-")).map(lambda p: p + line[at]),
                    misspelt(line),
                    typed(),
                )
            )
        return [command, *line]

    def check(line: list[str]) -> str:
        with case() as box:
            lay_out(box.here, moons_run, arm_run)
            free = any(each.lstrip("+~-").startswith(("out", "dir", "run")) for each in line)
            usual = ["out", "out.csv", "run/samples", "run/eval", "arm/posterior", "sweep"]
            asked = any("help" in each or each.startswith("-") for each in line)
            return box.call(
                *line,
                may_write=["."] if free else usual,
                right=lambda _: None if asked else check_output(box.here, line[0]),
            )

    explore("arguments of the other commands", command_lines(), share(6), check)


def test_sweeps(case, moons_run):
    """Three jobs, of which one has a file that was changed."""
    files = {}
    for name in ("metrics.json", "config.yaml", "overrides.yaml", "failed.json", "metrics.csv"):
        path = moons_run / name
        content = (
            path.read_bytes()
            if path.exists()
            else b'{"job": 0, "overrides": [], "state": "FAILED", "reason": "x"}'
        )
        tree = {".json": json.loads, ".yaml": yaml.safe_load}.get(path.suffix)
        new = st.one_of(damaged(content), st.binary(max_size=20))
        if tree is not None:
            dump = json.dumps if path.suffix == ".json" else yaml.safe_dump
            new = st.one_of(
                new, *2 * (mutated(tree(content), values).map(lambda v, dump=dump: text(dump, v)),)
            )
        files[name] = new
    cases = st.sampled_from(list(files)).flatmap(lambda name: st.tuples(st.just(name), files[name]))

    def check(given: tuple[str, bytes]) -> str:
        name, content = given
        with case() as box:
            for number in range(3):
                shutil.copytree(moons_run, box.here / f"sweep/{number}")
            (box.here / "sweep/1" / name).write_bytes(content)
            kept = ["sweep/sweep.csv", "sweep/sweep.html", "sweep/sweep.png"]
            return box.call(
                "innflow-sweep-report", "sweep", may_write=kept, right=lambda _: ranked(box.here)
            )

    explore("folders of sweeps", cases, share(2), check)


def text(dump: Any, value: Any) -> bytes:
    """Return JSON or YAML; a value that the format cannot hold as its text."""
    try:
        return dump(value).encode("utf-8", "surrogateescape")
    except (TypeError, ValueError, yaml.YAMLError):
        return repr(value).encode("utf-8", "backslashreplace")


def ranked(here: Path) -> None:
    """Check that the table has all jobs, the two whole ones with finite metrics."""
    with (here / "sweep/sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    require(len(rows) == 3, f"{len(rows)} rows for 3 jobs")
