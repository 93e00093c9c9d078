"""metrics.csv: every logged step of a run, resumed runs included."""

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
    """Lightning's `CSVLogger`, which writes metrics.csv into the run folder itself.

    Lightning deletes an existing file when it starts; here the rows of the run before it was
    resumed are kept.

    Args:
        run_dir: the run folder.
        flush_logs_every_n_steps: logged steps between two writes.

    >>> from tempfile import mkdtemp
    >>> logger = MetricsCSV(mkdtemp())
    >>> logger.log_metrics({"train/nll": 1.5}, step=0)
    >>> logger.save()
    >>> Path(logger.save_dir, "metrics.csv").read_text().split()
    ['step,train/nll', '0,1.5']
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
        """Keep the first rows only; a resumed run writes the others again."""
        self._writer.cut(rows)

    def log_hyperparams(self, params: Any = None) -> None:
        """Write nothing: the run folder's config.yaml holds them."""

    def save(self) -> None:
        """Write the rows that are not in the file yet.

        Raises:
            InnflowError: if it cannot be written.
        """
        try:
            super().save()
        except OSError as error:
            path = self._writer.metrics_file_path
            raise InnflowError(f"{path}: cannot be written ({error.strerror})") from None


class _Writer(ExperimentWriter):
    """Lightning's writer, for a folder with other files and a CSV file whose rows are kept."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.written = 0
        self.cut(None)

    def cut(self, rows: int | None) -> None:
        """Keep the first rows of the file, by default all that are complete."""
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
        with writing(Path(self.metrics_file_path)) as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        self.written = len(rows)

    def _check_log_dir_exists(self) -> None:
        """Do not warn that the folder holds files: its metrics.csv was read by `cut`."""
