"""metrics.csv: every logged step of a run, resumed runs included."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.file.atomic import writing


class MetricsCSV(Logger):
    """A logger that writes metrics.csv into the run folder.

    Lightning's `CSVLogger` deletes an existing file when it starts; here the rows from before a run
    was resumed are kept.

    Args:
        run_dir: the run folder.
        every: logged steps between two writes.

    >>> from tempfile import mkdtemp
    >>> logger = MetricsCSV(mkdtemp())
    >>> logger.log_metrics({"train/nll": 1.5}, step=0)
    >>> logger.save()
    >>> logger.path.read_text().split()
    ['step,train/nll', '0,1.5']
    """

    name = version = ""  # the folder identifies the run

    def __init__(self, run_dir: str | Path, every: int = 20) -> None:
        super().__init__()
        self.path = Path(run_dir) / "metrics.csv"
        self.every = every
        self._columns: list[str] = []
        self._written = 0
        self._new: list[dict[str, Any]] = []
        if self.path.is_file():
            self.cut(None)

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._written + len(self._new)

    def log_hyperparams(self, params: Any = None) -> None:
        """Write nothing: the run folder's config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row, and write the new rows to the file every `every` steps."""
        step = self.rows if step is None else step
        values = {k: v.item() if isinstance(v, Tensor) else v for k, v in metrics.items()}
        self._new.append(values | {"step": step})
        if (step + 1) % self.every == 0:
            self.save()

    def save(self) -> None:
        """Append the new rows to the file; rewrite it where they have a new column.

        Raises:
            InnflowError: if it cannot be written.
        """
        if not self._new:
            return
        before, self._columns = self._columns, sorted({*self._columns}.union(*self._new))
        try:
            if before != self._columns:  # the header is written whole, even on a full disk
                self._rewrite(None)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerows(self._new)
        except OSError as error:
            removed = "" if self.path.parent.is_dir() else "; the run folder was removed"
            raise InnflowError(
                f"{self.path}: cannot be written ({error.strerror}){removed}"
            ) from None
        self._written, self._new = self.rows, []

    def cut(self, rows: int | None) -> None:
        """Keep the first rows of the file (None: all); a resumed run writes the others again."""
        if self.path.is_file():
            self._columns, self._new = [], []
            self._rewrite(rows)

    def _rewrite(self, rows: int | None) -> None:
        """Replace the file, or begin one, by its header and its first complete rows.

        Raises:
            InnflowError: if it is another kind of file.
        """
        names, complete = self._columns, list[dict[str, Any]]()
        try:
            if self.path.is_file():
                with self.path.open(newline="", encoding="utf-8") as file:
                    reader = csv.DictReader(file)
                    names = list(reader.fieldnames or ())
                    complete = [r for r in reader if None not in r and None not in r.values()]
            foreign = bool(names) and "step" not in names
        except (UnicodeDecodeError, csv.Error):
            foreign = True
        if foreign:
            raise InnflowError(
                f"{self.path}: is not the table of a run, it has no column step; move it away, and "
                "the run continues with a new one"
            )
        self._columns = self._columns or names
        kept = complete[:rows]
        with writing(self.path, "w") as file:
            writer = csv.DictWriter(file, self._columns)
            if self._columns:
                writer.writeheader()
            writer.writerows(kept)
        self._written = len(kept)
