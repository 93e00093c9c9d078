"""metrics.csv of a run: every logged step, kept across resumed runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class MetricsCSV(CSVLogger):
    """Lightning's CSV logger, writing `metrics.csv` straight into the run folder.

    Lightning deletes an existing file when it starts; here the rows of an earlier part of the
    same run come back first.
    """

    def __init__(self, run_dir: str | Path, flush_logs_every_n_steps: int = 20) -> None:
        super().__init__(run_dir, "", "", flush_logs_every_n_steps=flush_logs_every_n_steps)
        path = Path(run_dir) / ExperimentWriter.NAME_METRICS_FILE
        rows: list[Any] = []
        if path.exists():
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            path.unlink()
        self._experiment = _Writer(str(run_dir))
        self._experiment.metrics = rows

    def log_hyperparams(self, params: Any = None) -> None:
        """Write nothing: the run folder's config.yaml holds them."""


class _Writer(ExperimentWriter):
    """A writer for a folder that holds other files too."""

    def _check_log_dir_exists(self) -> None:
        """Nothing to warn of: the logger has taken over the only file that is the writer's."""
