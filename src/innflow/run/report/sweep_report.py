"""innflow-sweep-report: the jobs of a sweep in one table, ranked by a metric."""

import csv
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from innflow.errors import InnflowError
from innflow.figure.parallel_axes import plot_parallel
from innflow.figure.style import to_png
from innflow.run.checkpoint import reading
from innflow.run.folder import check_links
from innflow.run.report.page import embed_png, write_page
from innflow.system.failed_jobs import FAILED, read_failure
from innflow.system.file.atomic import writing
from innflow.system.file.record import read_json, read_yaml
from innflow.system.progress import announce

FINISHED = "finished"
HIGHER = ("accuracy", "auroc", "aupr")
"""Last parts of the names of metrics that are better when they are higher."""
SHOWN = ("val/nll", "test/bpd", "test/nll", "test/accuracy", "posterior/c2st", "time/train_seconds")
"""Metrics in the table of the page, where a sweep has them; sweep.csv holds all."""


@dataclass
class Job:
    """One job of a sweep, read from its folder."""

    name: str  # name of its folder in that of the sweep
    state: str  # finished, unfinished, or the state in which it failed
    reason: str  # reason of the failure
    monitor: tuple[str, str]  # metric that selects best.ckpt, and its mode, min or max
    overrides: dict[str, str]  # value by key
    metrics: dict[str, float] = field(default_factory=dict)  # final, and the best of the monitor

    def describe(self, keys: Sequence[str]) -> str:
        """Return the overrides of some keys as on a command line."""
        return " ".join(f"{key}={self.overrides[key]}" for key in keys if key in self.overrides)


def monitored(run_dir: Path, config: Mapping[str, Any]) -> float | None:
    """Return the best value of the metric that selected best.ckpt, read from metrics.csv.

    Runs are compared by this validation metric alone: the test set is used only once, at the end.
    """
    name, mode = _monitor_of(config)
    path = run_dir / "metrics.csv"
    if not name or not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        cells = [row.get(name) for row in csv.DictReader(file)]
    values = [value for value in (float(cell) for cell in cells if cell) if math.isfinite(value)]
    return (max if mode == "max" else min)(values, default=None)


def _monitor_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the metric that selects best.ckpt and its mode, min or max."""
    keeper = (config.get("callbacks") or {}).get("checkpoint") or {}
    return str(keeper.get("monitor") or ""), str(keeper.get("mode") or "min")


def report(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-sweep-report DIR [metric=test/bpd] [mode=min|max]: compare the jobs of a sweep.

    Writes sweep.csv, sweep.html and sweep.png into DIR and prints the folder of the best run.
    """
    if overrides:
        raise InnflowError(f"{overrides[0]}: is unknown here; --help shows the keys")
    if not isinstance(arguments["metric"], str | None):
        raise InnflowError(f"metric={arguments['metric']}: must be the name of a metric")
    root = Path(str(arguments["dir"]))
    if not root.is_dir():
        raise InnflowError(f"dir={root}: no such folder; give the folder of a sweep")
    check_links(root)
    jobs = gather(root)
    metric, mode = choose_metric(jobs, arguments["metric"], arguments["mode"])
    ranked = rank(jobs, metric, mode)
    varied = find_varied(jobs)
    write_csv(root / "sweep.csv", ranked, varied)
    done = [job for job in ranked if metric in job.metrics]
    verdict = f"no job has {metric}"
    if done:
        best, rule = done[0], f"{'highest' if mode == 'max' else 'lowest'} {metric}"
        verdict = f"best by the {rule}: {best.metrics[metric]:.6g} ({best.describe(varied)})"
    write_html(root, ranked, done, varied, metric, verdict)
    for job in ranked:
        if job.state != FINISHED:
            announce(f"job {job.name}: {job.state} ({job.describe(varied)}) {job.reason}".rstrip())
    if not done:
        raise InnflowError(f"{root}: {verdict}; sweep.html lists the state of every job")
    announce(verdict)
    announce(str(root / best.name))


def gather(root: Path) -> list[Job]:
    """Read all jobs of a sweep, those that failed or did not finish included."""
    marks = [*root.rglob("overrides.yaml"), *root.rglob(FAILED)]
    folders = {path.parent for path in marks if path.parent != root}
    if not folders:
        raise InnflowError(f"dir={root}: holds no jobs; give the folder of a sweep, multirun/...")
    return [read_job(root, folder) for folder in sorted(folders, key=_natural)]


def read_job(root: Path, folder: Path) -> Job:
    """Read the folder of one job."""
    with reading(folder):
        return _read_job(root, folder)


def _read_job(root: Path, folder: Path) -> Job:
    failure = read_failure(folder)
    if failure is not None:
        state, reason = str(failure["state"]), str(failure["reason"])
        typed = list(failure["overrides"])
    else:
        state = FINISHED if (folder / "metrics.json").is_file() else "unfinished"
        reason, typed = "", read_yaml(folder / "overrides.yaml", [])
    pairs = (str(each).lstrip("+~").partition("=") for each in typed)
    overrides = {key: value for key, _, value in pairs}
    config = read_yaml(folder / "config.yaml", {})
    job = Job(str(folder.relative_to(root)), state, reason, _monitor_of(config), overrides)
    if state == FINISHED:
        best = monitored(folder, config)
        job.metrics = {} if best is None else {job.monitor[0]: best}
        stored = read_json(folder / "metrics.json", {})
        job.metrics |= {str(name): float(value) for name, value in stored.items()}
    return job


def choose_metric(jobs: Sequence[Job], metric: str | None, mode: str | None) -> tuple[str, str]:
    """Return the metric that ranks the jobs, and whether it is to be min or max.

    Raises:
        InnflowError: if no job has the metric.
    """
    if mode not in (None, "min", "max"):
        raise InnflowError(f"mode={mode}: must be min or max")
    monitors = (job.monitor for job in jobs if job.monitor[0])
    default, direction = next(monitors, ("val/nll", "min"))
    known = sorted({name for job in jobs for name in job.metrics})
    if metric is None:
        metric = default
    elif metric not in known:
        close = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
        raise InnflowError(f"metric={metric}: no job has it; {hint}")
    if mode is None:
        last = metric.rsplit("/", 1)[-1]
        mode = direction if metric == default else "max" if last in HIGHER else "min"
    return metric, mode


def rank(jobs: Sequence[Job], metric: str, mode: str) -> list[Job]:
    """Return the jobs from best to worst, then those without the metric in their old order."""
    sign = -1 if mode == "max" else 1
    return sorted(jobs, key=lambda job: sign * job.metrics.get(metric, sign * math.inf))


def find_varied(jobs: Sequence[Job]) -> list[str]:
    """Return the keys of the overrides in which jobs differ; all of them where none does."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    return varied or list(keys)


def write_csv(path: Path, jobs: Sequence[Job], varied: Sequence[str]) -> None:
    """Write sweep.csv: one row per job, in their order."""
    names = sorted({name for job in jobs for name in job.metrics})
    with writing(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(["job", "state", *varied, *names, "reason"])
        for job in jobs:
            settings = [job.overrides.get(key, "") for key in varied]
            values = [job.metrics.get(name, "") for name in names]
            writer.writerow([job.name, job.state, *settings, *values, job.reason])


def write_html(
    root: Path,
    jobs: Sequence[Job],
    done: Sequence[Job],
    varied: Sequence[str],
    metric: str,
    verdict: str,
) -> None:
    """Write sweep.html and, if some jobs are `done` and have the metric, sweep.png.

    The jobs are ranked, `varied` are the keys in which they differ, and the verdict is a sentence
    about the best one.
    """
    png = b""
    if done:
        axes = {key: [job.overrides.get(key, "-") for job in done] for key in varied}
        values = np.array([job.metrics[metric] for job in done])
        png = to_png(plot_parallel(axes, metric, values, best=0))
        with writing(root / "sweep.png") as file:
            file.write(png)
    names = [metric, *(name for name in SHOWN if name != metric)]
    reported = [job for job in jobs if (root / job.name / "report.html").is_file()]
    write_page(
        root / "sweep.html",
        "sweep.html.j2",
        title=root.resolve().name,
        verdict=f"{verdict[0].upper()}{verdict[1:]}.",
        finished=sum(job.state == FINISHED for job in jobs),
        jobs=jobs,
        best=done[0] if done else None,
        varied=varied,
        metric=metric,
        shown=[name for name in names if any(name in job.metrics for job in jobs)],
        image=embed_png(png) if png else "",
        links={job.name: f"{quote(job.name)}/report.html" for job in reported},
    )


def _natural(path: Path) -> list[tuple[str, int]]:
    """Return a key that sorts numbers in names by value: job 10 comes after job 9."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", str(path))]
