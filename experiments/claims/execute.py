"""The runs: each is started, resumed or skipped, and its claims are measured when it ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.claims.claims import Claim
from experiments.claims.folders import check_data, make_folders
from experiments.claims.measure import read_metrics
from experiments.claims.runs import Run, needed
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_text
from innflow.system.file.record import read_yaml
from innflow.system.progress import announce

TRAIN = "import sys; from innflow.command.main import train; sys.argv[0] = 'innflow-train'; train()"
KEPT = ("torch", "pytorch-lightning", "innflow")
"""Packages whose versions are noted in the results."""

Results = dict[str, Any]
"""`machine`, and `claims`: number -> seed -> numbers, series, minutes."""


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        claims: In order.
        seeds: Of the runs.
        data: Folder of the data sets; None where no run needs it.
        out: Folder of the run folders.
        results: File of the numbers.
        limit: Minutes of each training, for a trial; None for the full number of steps.
    """

    claims: Sequence[Claim]
    seeds: Sequence[int]
    data: Path | None
    out: Path
    results: Path
    limit: float | None = None

    @property
    def runs(self) -> list[Run]:
        """The runs of all claims, each once."""
        return needed([name for claim in self.claims for name in claim.runs])

    def folder(self, run: str, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / run / f"seed{seed}"

    def arguments(self, run: Run, seed: int) -> list[str]:
        """Return the arguments of innflow-train but for the folder of the run."""
        folders = {f"run:{name}": self.folder(name, seed) for name in run.needs}
        if self.data is not None:
            folders |= {"data": self.data, "made": self.out / "made"}
        return run.arguments(folders, seed, self.limit)


def execute(plan: Plan) -> list[str]:
    """Do the runs that are not finished, and write the results after each.

    Returns:
        Names of the runs that failed; those that need them are left out.
    """
    if any("{data}" in text or "{made}" in text for run in plan.runs for text in run.overrides):
        if plan.data is None:
            raise InnflowError("claims: data=DIR is needed, the folder of the data sets")
        check_data(plan.data)
        make_folders(plan.data, plan.out / "made")
    failed: list[str] = []
    collect(plan)
    for seed in plan.seeds:
        for run in plan.runs:
            name = f"{run.name}/seed{seed}"
            if any(f"{other}/seed{seed}" in failed for other in run.needs):
                failed.append(name)
            elif not is_finished(plan, run, seed):
                announce(f"{name}: {run.steps:,} steps, about {run.minutes:g} minutes")
                if train(plan, run, seed):
                    collect(plan)
                else:
                    failed.append(name)
    return failed


def is_finished(plan: Plan, run: Run, seed: int) -> bool:
    """Return whether a run has its metrics; refuse a folder of a run with other settings."""
    folder = plan.folder(run.name, seed)
    if (folder / "overrides.yaml").is_file():
        stored = [str(text) for text in read_yaml(folder / "overrides.yaml", [])]
        own = [text for text in stored if not text.startswith(("run_dir=", "ckpt="))]
        if sorted(own) != sorted(plan.arguments(run, seed)):
            raise InnflowError(f"{folder}: is a run with other settings; choose another out=DIR")
    return (folder / "metrics.json").is_file()


def train(plan: Plan, run: Run, seed: int) -> bool:
    """Start a run, or resume it from its last checkpoint; return whether it ended well."""
    folder = plan.folder(run.name, seed)
    place = f"run_dir='{folder}'"
    if (folder / "checkpoints/last.ckpt").is_file():
        words = [place, "ckpt=last"]
    else:
        shutil.rmtree(folder, ignore_errors=True)  # stopped before its first checkpoint
        words = [*plan.arguments(run, seed), place]
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-c", TRAIN, *words], stdout=file, stderr=file)
        try:
            code = process.wait()
        except BaseException:  # the run saves itself on a signal and ends
            process.terminate()
            process.wait()
            raise
    if code:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        announce(f"{run.name}/seed{seed} failed, see {log}: {' '.join(last)}")
    return code == 0


def collect(plan: Plan) -> Results:
    """Add the claims whose runs are finished to the results; write and return them."""
    results = read_results(plan.results)
    changed = False
    for claim in plan.claims:
        of = results["claims"].setdefault(str(claim.number), {})
        for seed in plan.seeds:
            done = all(is_finished(plan, run, seed) for run in claim.all_runs)
            if not done or str(seed) in of:
                continue
            found = claim.read({name: plan.folder(name, seed) for name in claim.runs})
            metrics = {
                run.name: read_metrics(plan.folder(run.name, seed)) for run in claim.all_runs
            }
            minutes = {
                name: round((m["time/train_seconds"] + m["time/study_seconds"]) / 60, 2)
                for name, m in metrics.items()
            }
            of[str(seed)] = {"numbers": found.numbers, "minutes": minutes, "series": found.series}
            results["machine"] = describe(plan.folder(claim.runs[0], seed))
            changed = True
    if changed:
        write_results(plan.results, results)
    return results


def read_results(path: Path) -> Results:
    """Return the results of a file, or empty ones where there is none."""
    if not path.is_file():
        return {"machine": {}, "claims": {}}
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON with every list of numbers on one line."""
    text = json.dumps(results, indent=1)
    flat = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: " ".join(found.group().split()), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, flat + "\n")


def describe(run: Path) -> dict[str, Any]:
    """Return threads and versions of a run, from its environment.json."""
    found = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    return {
        "system": found["system"],
        "threads": found["threads"],
        "versions": {name: found["versions"][name] for name in KEPT},
    }
