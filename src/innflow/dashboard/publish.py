"""Sending the metrics, figures and tables of a run to its dashboards."""

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

from innflow.dashboard.registry import sink_of
from innflow.dashboard.sink import Picture, Sheet

log = logging.getLogger(__name__)

ITEMS = "tables/items"
"""Key of the table of scores.csv, the highest score first."""


def send(
    loggers: Sequence[Logger],
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet] | None = None,
    step: int = 0,
    final: bool = False,
) -> None:
    """Send figures and tables to every logger that can show them.

    Args:
        loggers: of the trainer.
        figures: under keys `group/name`.
        tables: under such keys.
        step: of training.
        final: whether the run has finished, so that there is one version of each.
    """
    for logger in loggers:
        sink = sink_of(logger)
        if sink is not None:
            sink.send(logger, figures, tables or {}, step, final)


def publish(
    run_dir: Path, metrics: Mapping[str, float], loggers: Sequence[Logger], step: int
) -> None:
    """Send the final metrics, figures, tables and scores.csv of a run folder."""
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
    send(loggers, figures, tables, step, final=True)
    for logger in loggers:
        sink = sink_of(logger)
        if sink is None:
            logger.log_metrics(dict(metrics), step)
        else:
            sink.conclude(logger, metrics, step)


def read_items(path: Path) -> Sheet:
    """Return scores.csv with numbers as floats, the highest score first."""
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
    """Close all loggers with the state of the run."""
    for logger in loggers:
        try:
            logger.finalize("failed" if failed else "success")
        except Exception as error:
            if not failed:
                raise
            # The error of the run itself must reach the user.
            log.warning(
                "%s: could not be closed after the run failed (%s)", type(logger).__name__, error
            )
    if "wandb" in sys.modules:
        from innflow.dashboard import wandb

        wandb.finish(failed)


@contextmanager
def dashboards_closed() -> Iterator[list[Logger]]:
    """Provide a list for the loggers of a run, and close them when the block ends.

    They are closed as failed if the block raises.
    """
    loggers: list[Logger] = []
    try:
        yield loggers
    except BaseException:
        close(loggers, failed=True)
        raise
    close(loggers, failed=False)
