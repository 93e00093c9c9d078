"""Sending the metrics, figures and tables of a run to its dashboards."""

import csv
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from innflow.dashboard.mlflow import MLflow
from innflow.dashboard.sink import Picture, Pictures, Sheet, Sheets, Sink
from innflow.dashboard.tensorboard import TensorBoard
from innflow.dashboard.wandb import Wandb, finish
from innflow.system.file.record import read_json

log = logging.getLogger(__name__)

ITEMS = "tables/items"
"""Key of the table of scores.csv, the highest score first."""
SINKS: dict[type, Sink] = {
    WandbLogger: Wandb(),
    TensorBoardLogger: TensorBoard(),
    MLFlowLogger: MLflow(),
    object: Sink(),
}


def sink_of(logger: Any) -> Sink:
    """Return the sink of a logger or of a class of loggers."""
    kind = logger if isinstance(logger, type) else type(logger)
    return next(sink for known, sink in SINKS.items() if issubclass(kind, known))


def shows_pictures(loggers: Iterable[Logger]) -> bool:
    """Return whether one of the loggers can show figures.

    >>> shows_pictures([])
    False
    """
    return any(type(sink_of(logger)) is not Sink for logger in loggers)


def send(
    loggers: Sequence[Logger],
    figures: Pictures,
    tables: Sheets | None = None,
    step: int = 0,
    final: bool = False,
) -> None:
    """Send figures and tables, under keys `group/name`, to every logger that can show them.

    Each is sent once at the end of a run (`final`), or for each step during training.
    """
    for logger in loggers:
        sink_of(logger).send(logger, figures, tables or {}, step, final)


def publish(
    run_dir: Path, metrics: Mapping[str, float], loggers: Sequence[Logger], step: int
) -> None:
    """Send the final metrics, figures, tables and scores.csv of a run folder."""
    if not loggers:
        return
    figures, tables = {}, {}
    for section in read_json(run_dir / "report.json", []):
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
        sink_of(logger).conclude(logger, metrics, step)


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
            kind = type(logger).__name__
            log.warning("%s: could not be closed after the run failed (%s)", kind, error)
    if "wandb" in sys.modules:
        finish(failed)


@contextmanager
def dashboards_closed() -> Iterator[list[Logger]]:
    """Provide a list of loggers that are closed when the block ends, as failed if it raises."""
    loggers: list[Logger] = []
    try:
        yield loggers
    except BaseException:
        close(loggers, failed=True)
        raise
    close(loggers, failed=False)
