"""From a run folder to the dashboards: numbers, figures and tables, each by one way."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from innflow.dashboard.sink import Picture, Sheet, sink_of

log = logging.getLogger(__name__)

ITEMS = "tables/items"
"""Key of the table of scores.csv, the strangest item first."""


def send(
    loggers: Sequence[Logger],
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet] | None = None,
    step: int = 0,
    last: bool = False,
) -> None:
    """Send figures and tables to every logger that can show them.

    Args:
        loggers: of the trainer.
        figures: by key, `group/name`.
        tables: by key.
        step: of training.
        last: whether the run is over and nothing replaces them.
    """
    for logger in loggers:
        sink = sink_of(logger)
        if sink is not None:
            sink.send(logger, figures, tables or {}, step, last)


def publish(
    run_dir: Path, metrics: Mapping[str, float], loggers: Sequence[Logger], step: int
) -> None:
    """Send what a finished run's folder holds: metrics.json, figures, tables and scores.csv."""
    if not loggers:
        return
    sections = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    figures, tables = {}, {}
    for section in sections:
        for figure in section["figures"]:
            path = run_dir / figure["file"]
            figures[f"figures/{path.stem}"] = Picture(path.read_bytes(), figure["caption"])
        for number, table in enumerate(section["tables"], start=1):
            sheet = Sheet(table["columns"], table["rows"])
            tables[f"tables/{section['name']}_{number}"] = sheet
    scores = run_dir / "scores.csv"
    if scores.is_file():
        tables[ITEMS] = read_items(scores)
    send(loggers, figures, tables, step, last=True)
    for logger in loggers:
        sink = sink_of(logger)
        if sink is None:
            logger.log_metrics(dict(metrics), step)
        else:
            sink.conclude(logger, metrics, step)


def read_items(path: Path) -> Sheet:
    """Return scores.csv with its numbers as numbers, the strangest item first."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        columns, *lines = csv.reader(file)
    text = {columns.index(name) for name in ("path", "set")}
    rows: list[list[Any]] = [
        [cell if index in text else float(cell) for index, cell in enumerate(line)]
        for line in lines
    ]
    score = columns.index("score")
    return Sheet(columns, sorted(rows, key=lambda row: -row[score]))


def close(loggers: Sequence[Logger], failed: bool) -> None:
    """Say on every dashboard how the run ended."""
    for logger in loggers:
        try:
            logger.finalize("failed" if failed else "success")
        except Exception as error:
            if not failed:
                raise
            # What made the run fail must reach the user, not that a server is gone besides.
            log.warning("%s: was not told that the run failed (%s)", type(logger).__name__, error)
    if "wandb" in sys.modules:
        from innflow.dashboard import wandb

        wandb.finish(failed)


@contextmanager
def dashboards_closed() -> Iterator[list[Logger]]:
    """Give a list for the loggers of a run; close them with the job, as failed if it failed."""
    loggers: list[Logger] = []
    try:
        yield loggers
    except BaseException:
        close(loggers, failed=True)
        raise
    close(loggers, failed=False)
