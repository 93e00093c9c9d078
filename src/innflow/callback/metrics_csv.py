"""metrics.csv of a run: every logged step, kept across resumed runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from innflow.errors import InnflowError
from innflow.system.atomic import writing


class MetricsCSV(CSVLogger):
    """Lightning's CSV logger, writing `metrics.csv` straight into the run folder.

    Lightning deletes an existing file when it starts; here the rows of an earlier part of the
    same run stay.
    """

    def __init__(self, run_dir: str | Path, flush_logs_every_n_steps: int = 20) -> None:
        super().__init__(run_dir, "", "", flush_logs_every_n_steps=flush_logs_every_n_steps)
        self._writer = _Writer(str(run_dir))
        self._experiment = self._writer

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._writer.written + len(self._writer.metrics)

    def cut(self, rows: int) -> None:
        """Drop all rows behind the first so many: a resumed run writes them again."""
        self._writer.cut(rows)

    def log_hyperparams(self, params: Any = None) -> None:
        """Write nothing: the run folder's config.yaml holds them."""

    def save(self) -> None:
        """Bring the rows to the file.

        Raises:
            InnflowError: if it cannot be written.
        """
        try:
            super().save()
        except OSError as error:
            path = self._writer.metrics_file_path
            raise InnflowError(f"{path}: cannot be written ({error.strerror})") from None


class _Writer(ExperimentWriter):
    """A writer for a folder that holds other files too, and rows that are to be kept."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.written = 0
        self.cut(None)

    def cut(self, rows: int | None) -> None:
        """Keep the first rows of the file, by default all that were written to their end."""
        if not Path(self.metrics_file_path).exists():
            return
        with Path(self.metrics_file_path).open(newline="") as file:
            reader = csv.DictReader(file)
            kept = [row for row in reader if None not in row and None not in row.values()][:rows]
        self.metrics_keys = list(reader.fieldnames or ())
        self.metrics = []
        self._replace(kept)

    def save(self) -> None:
        """Append the rows that are new."""
        count = len(self.metrics)
        super().save()
        self.written += count

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(newline="") as file:
            self._replace(list(csv.DictReader(file)))

    def _replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the file anew, whole or not at all."""
        with writing(Path(self.metrics_file_path), "w") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        self.written = len(rows)

    def _check_log_dir_exists(self) -> None:
        """Nothing to warn of: the logger has taken over the only file that is the writer's."""
