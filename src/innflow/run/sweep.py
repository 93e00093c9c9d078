"""The jobs of a sweep side by side: what was varied, what came of it, and which was best."""

from __future__ import annotations

import base64
import csv
import difflib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml

from innflow.errors import InnflowError
from innflow.figure.style import DPI
from innflow.figure.parallel_axes import plot_parallel
from innflow.run.report import CSS
from innflow.system.atomic import write_text
from innflow.system.failure import FAILED, read_failure
from innflow.system.progress import announce

FINISHED = "finished"
HIGHER = ("accuracy", "auroc", "aupr")
"""Last words of metrics of which more is better."""
ABSENT = "-"
SHOWN = ("val/nll", "test/bpd", "test/nll", "test/accuracy", "posterior/c2st", "time/train_seconds")
"""Metrics that stand in the table of the page, where a sweep has them; sweep.csv holds all."""


@dataclass
class Job:
    """A job of a sweep, as its folder shows it."""

    name: str
    state: str
    reason: str = ""
    overrides: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def monitored(run_dir: Path, config: Mapping[str, Any]) -> float | None:
    """Return the best value of what chose a run's best.ckpt, from its metrics.csv.

    Nothing else may choose between runs: test data are looked at once, at the end.
    """
    name, mode = monitor_of(config)
    path = run_dir / "metrics.csv"
    if not name or not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        cells = [row.get(name) for row in csv.DictReader(file)]
    values = [value for value in (float(cell) for cell in cells if cell) if math.isfinite(value)]
    if not values:
        return None
    return max(values) if mode == "max" else min(values)


def monitor_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of what chooses best.ckpt, and whether it is to be min or max."""
    keeper = (config.get("callbacks") or {}).get("checkpoint") or {}
    return str(keeper.get("monitor") or ""), str(keeper.get("mode") or "min")


def report(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """innflow-sweep-report DIR [metric=test/bpd] [mode=min|max]: gather the jobs of a sweep.

    Writes sweep.csv, sweep.html and sweep.png into DIR and names the best run.
    """
    if overrides:
        raise InnflowError(f"{overrides[0]}: is unknown here; --help shows the keys")
    root = Path(str(arguments["dir"]))
    if not root.is_dir():
        raise InnflowError(f"dir={root}: no such folder; takes that of a sweep")
    jobs = gather(root)
    metric, mode = choose_metric(root, jobs, arguments["metric"], arguments["mode"])
    ranked = rank(jobs, metric, mode)
    varied = find_varied(jobs)
    write_text(root / "sweep.csv", table(ranked, varied))
    done = [job for job in ranked if metric in job.metrics]
    picture = b""
    if done:
        picture = draw(done, varied, metric)
        (root / "sweep.png").write_bytes(picture)
    write_text(root / "sweep.html", page(root, ranked, varied, metric, mode, picture))
    for job in ranked:
        if job.state != FINISHED:
            announce(f"job {job.name}: {job.state} ({told(job, varied)}) {job.reason}".rstrip())
    if not done:
        raise InnflowError(f"{root}: no job has {metric}; sweep.html lists what became of them")
    best = done[0]
    chosen = "highest" if mode == "max" else "lowest"
    announce(f"best by the {chosen} {metric}: {best.metrics[metric]:.6g} ({told(best, varied)})")
    announce(str(root / best.name))


def gather(root: Path) -> list[Job]:
    """Read the jobs of a sweep; those that failed or never ended too."""
    marks = [*root.rglob("overrides.yaml"), *root.rglob(FAILED)]
    folders = {path.parent for path in marks if path.parent != root}
    if not folders:
        raise InnflowError(f"dir={root}: holds no jobs; takes the folder of a sweep, multirun/...")
    return [read_job(root, folder) for folder in sorted(folders, key=_natural)]


def read_job(root: Path, folder: Path) -> Job:
    """Read what the folder of one job says."""
    failure = read_failure(folder)
    finished = (folder / "metrics.json").is_file()
    if failure is not None:
        state, reason, typed = failure["state"], failure["reason"], failure["overrides"]
    else:
        state = FINISHED if finished else "unfinished"
        reason, typed = "", _yaml(folder / "overrides.yaml") or []
    pairs = (str(each).lstrip("+~").partition("=") for each in typed)
    job = Job(str(folder.relative_to(root)), state, reason, {key: v for key, _, v in pairs})
    if finished and failure is None:
        config = _yaml(folder / "config.yaml") or {}
        best = monitored(folder, config)
        if best is not None:
            job.metrics[monitor_of(config)[0]] = best
        job.metrics |= json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return job


def choose_metric(
    root: Path, jobs: Sequence[Job], metric: str | None, mode: str | None
) -> tuple[str, str]:
    """Return the metric that ranks the jobs, and which way.

    Raises:
        InnflowError: if no job has it.
    """
    if mode not in (None, "min", "max"):
        raise InnflowError(f"mode={mode}: takes min or max")
    configs = [_yaml(root / job.name / "config.yaml") or {} for job in jobs]
    monitors = [monitor_of(config) for config in configs if config]
    default, direction = monitors[0] if monitors and monitors[0][0] else ("val/nll", "min")
    known = sorted({name for job in jobs for name in job.metrics})
    if metric is None:
        metric = default
    elif metric not in known:
        close = difflib.get_close_matches(metric, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
        raise InnflowError(f"metric={metric}: no job has it; {hint}")
    if mode is None:
        words = metric.rsplit("/", 1)[-1]
        mode = direction if metric == default else "max" if words in HIGHER else "min"
    return metric, mode


def rank(jobs: Sequence[Job], metric: str, mode: str) -> list[Job]:
    """Return the jobs from the best to the worst, then those without the metric as they were."""
    sign = -1 if mode == "max" else 1
    done = [job for job in jobs if metric in job.metrics]
    rest = [job for job in jobs if metric not in job.metrics]
    return [*sorted(done, key=lambda job: sign * job.metrics[metric]), *rest]


def find_varied(jobs: Sequence[Job]) -> list[str]:
    """Return the keys of the overrides in which jobs differ; all of them where none does."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    return varied or list(keys)


def told(job: Job, varied: Sequence[str]) -> str:
    """Return the overrides of a job in which it differs from others."""
    return " ".join(f"{key}={job.overrides[key]}" for key in varied if key in job.overrides)


def table(jobs: Sequence[Job], varied: Sequence[str]) -> str:
    """Return sweep.csv: a row a job, best first."""
    names = sorted({name for job in jobs for name in job.metrics})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["job", "state", *varied, *names, "reason"])
    for job in jobs:
        settings = [job.overrides.get(key, "") for key in varied]
        values = [job.metrics.get(name, "") for name in names]
        writer.writerow([job.name, job.state, *settings, *values, job.reason])
    return text.getvalue()


def draw(jobs: Sequence[Job], varied: Sequence[str], metric: str) -> bytes:
    """Return the parallel coordinates of ranked jobs as a PNG."""
    axes = {key: [job.overrides.get(key, ABSENT) for job in jobs] for key in varied}
    values = np.array([job.metrics[metric] for job in jobs])
    buffer = io.BytesIO()
    figure = plot_parallel(axes, metric, values, best=0)
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()


def page(
    root: Path, jobs: Sequence[Job], varied: Sequence[str], metric: str, mode: str, picture: bytes
) -> str:
    """Return sweep.html, which needs no other file; its links lead to the reports of the jobs."""
    names = [metric, *(name for name in SHOWN if name != metric)]
    names = [name for name in names if any(name in job.metrics for job in jobs)]
    best = jobs[0] if metric in jobs[0].metrics else None
    head = "".join(f"<th>{escape(name)}</th>" for name in ("job", "state", *varied))
    head += "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    body = "".join(_row(root, job, varied, names, job is best) for job in jobs)
    ended = sum(job.state == FINISHED for job in jobs)
    shown = ""
    if picture:
        data = base64.b64encode(picture).decode()
        shown = (
            f'<figure><img alt="Parallel coordinates" src="data:image/png;base64,{data}">'
            f"<figcaption>A line a job, from what was varied to {escape(metric)}; the best is "
            "bold.</figcaption></figure>"
        )
    answer = f"No job has {metric}." if ended else "No job has finished."
    if best is not None:
        answer = (
            f"Best by the {'highest' if mode == 'max' else 'lowest'} {metric}: job {best.name} "
            f"with {best.metrics[metric]:.6g} ({told(best, varied)})."
        )
    failed = "".join(
        f"<li>job {escape(job.name)}: {escape(job.state)}: {escape(job.reason)}</li>\n"
        for job in jobs
        if job.reason
    )
    if failed:
        failed = f"<h2>Failed</h2>\n<ul>\n{failed}</ul>"
    title = root.resolve().name
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - innflow</title>
<style>{CSS}tr.best td{{font-weight:700}}</style>
</head>
<body>
<header>
<h1>Sweep {escape(title)}</h1>
<p>{escape(answer)}</p>
<p class="soft">{ended} of {len(jobs)} jobs finished. sweep.csv holds every metric.</p>
</header>
<main>
<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table></div>
{shown}
{failed}
</main>
</body>
</html>
"""


def _row(root: Path, job: Job, varied: Sequence[str], names: Sequence[str], best: bool) -> str:
    label = escape(job.name)
    if (root / job.name / "report.html").is_file():
        label = f'<a href="{escape(quote(job.name), True)}/report.html">{label}</a>'
    cells = [f"<td>{label}</td>", f"<td>{escape(job.state)}</td>"]
    cells += [f"<td>{escape(job.overrides.get(key, ABSENT))}</td>" for key in varied]
    for name in names:
        value = f"{job.metrics[name]:.5g}" if name in job.metrics else ABSENT
        cells.append(f'<td class="n">{escape(value)}</td>')
    kind = ' class="best"' if best else ""
    return f"<tr{kind}>{''.join(cells)}</tr>\n"


def _natural(path: Path) -> list[tuple[str, int]]:
    """Sort by the numbers in names: job 10 comes after job 9."""
    parts = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(number or 0)) for text, number in parts]


def _yaml(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        raise InnflowError(f"{path}: not readable as YAML") from None
