"""report.html: the results of a run on one self-contained page."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from innflow.errors import InnflowError
from innflow.run.report.headline import (
    choose_headlines,
    describe_detection,
    describe_models,
    describe_result,
    warn_of_calibration,
)
from innflow.run.report.page import embed_png, format_number, write_page
from innflow.system.file.record import read_json, read_yaml
from innflow.system.tree import walk

MOST_HEADLINES = 8
"""Number of cards at the top of the page."""


def write_report(run_dir: Path) -> Path:
    """Write report.html from the files of a run folder, and return its path.

    Raises:
        InnflowError: if one of the files is damaged, or a figure of report.json is missing.
    """
    run_dir = Path(run_dir)
    sections = read_json(run_dir / "report.json", [])
    metrics = read_json(run_dir / "metrics.json", {})
    environment = read_json(run_dir / "environment.json", {})
    config = run_dir / "config.yaml"
    settings = read_yaml(config, {})
    headline = str((settings.get("score") or {}).get("headline", ""))
    summary = [describe_detection(metrics, headline), describe_result(metrics)]
    summary.append(describe_models(settings))
    overrides = read_yaml(run_dir / "overrides.yaml", [])
    if not isinstance(overrides, list):
        raise InnflowError(f"{run_dir / 'overrides.yaml'}: should be a list of overrides")
    folder = run_dir.resolve().name
    named = {key: environment.get(key) for key in ("device", "seed", "commit")}
    origin = [f"{key} {value}" for key, value in named.items() if value is not None]
    files = [figure["file"] for section in sections for figure in section["figures"]]
    page = run_dir / "report.html"
    write_page(
        page,
        "report.html.j2",
        title=_find_experiment(overrides) or folder,
        origin=["innflow", folder, *origin],
        warning=warn_of_calibration(metrics),
        summary=[text for text in summary if text],
        cards=[
            (each, value, each.verdict(metrics))
            for each, value in choose_headlines(metrics, headline)[:MOST_HEADLINES]
        ],
        sections=sections,
        images={file: _embed(run_dir / file) for file in files},
        command=shlex.join(["innflow-train", *map(str, overrides)]),
        metrics=[(name, format_number(value)) for name, value in metrics.items()],
        environment=[row for row in walk(environment) if not isinstance(row[1], Mapping)],
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
    )
    return page


def _embed(path: Path) -> str:
    if not path.is_file():
        raise InnflowError(f"{path}: this figure of report.json is missing")
    return embed_png(path.read_bytes())


def _find_experiment(overrides: Sequence[Any]) -> str | None:
    pairs = (str(override).lstrip("+").partition("=") for override in overrides)
    return next((value for key, _, value in pairs if key == "experiment"), None)
