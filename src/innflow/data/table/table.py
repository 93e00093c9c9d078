"""Vectors from the columns of a CSV, NPZ or Parquet file."""

import os
from collections.abc import Sequence

import torch

from innflow.data.base import PartsDataModule, check_fraction
from innflow.data.sets import PartsSet, make_sets
from innflow.data.table import files
from innflow.errors import InnflowError


class Table(PartsDataModule):
    """Rows of a table as vectors.

    >>> import numpy as np
    >>> np.savetxt("points.csv", np.random.rand(100, 2), delimiter=",", header="a,b", comments="")
    >>> {name: len(items) for name, items in Table("points.csv", batch_size=8).sets().items()}
    {'train': 86, 'val': 4, 'test': 10}

    Args:
        path: A .csv with a line of column names, a .npz with one array (N,) or (N, D) a name, or a
            .parquet file.
        columns: Columns to use, in this order; all but the label by default.
        test: Fraction of all rows that becomes the set "test".
        outliers: Another such file; its rows are the set "outliers".
        label: Column of class names or whole numbers; the sorted classes are labels 0, 1 and so on.
        batch_size, holdout, workers, seed: See `PartsDataModule`. Splits are stratified by label.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str] | None = None,
        batch_size: int = 256,
        holdout: float = 0.05,
        test: float = 0.1,
        outliers: str | os.PathLike[str] | None = None,
        workers: int = 0,
        seed: int = 0,
        label: str | None = None,
    ) -> None:
        self.test = check_fraction("test", test)
        self.path = files.existing_table(path)
        self.outliers = None if outliers is None else files.existing_table(outliers)
        self.label = label
        widths = files.read_header(self.path, label)
        self.chosen = files.choose_columns(self.path, widths, columns, label)
        dims = sum(widths[column] for column in self.chosen)
        super().__init__((dims,), batch_size, holdout, workers, seed)

    @property
    def classes(self) -> list[str]:
        """Name of each label, from the file; empty without labels."""
        if self.label is not None and not self._classes:
            self._classes = _sorted(files.read_labels(self.path, self.label))
            if len(self._classes) < 2:
                raise InnflowError(
                    f"data.label={self.label} needs two classes or more, {self.path} has "
                    f"{', '.join(self._classes) or 'none'}"
                )
        return self._classes

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the rows of the file in three disjoint sets, and the outliers."""
        x, names = files.read_table(self.path, self.chosen, self.label)
        parts = {"x": x}
        if self.label is not None:
            labels = {name: label for label, name in enumerate(self.classes)}
            found = files.read_labels(self.path, self.label)
            parts["label"] = torch.tensor([labels[name] for name in found])
        items, of = PartsSet("rows", "train", parts, names), f"{self.path}, rows"
        sets = make_sets(items, self.test, self.holdout, self.seed, of, classes=self.classes)
        if self.outliers is not None:
            other, other_names = files.read_table(self.outliers, self.chosen, self.label)
            if other.shape[1:] != x.shape[1:]:
                raise InnflowError(
                    f"{self.outliers} has {other.shape[1]} values a row, {self.path} {x.shape[1]}"
                )
            sets["outliers"] = PartsSet("outliers", "outlier", {"x": other}, other_names)
        return sets


def _sorted(names: Sequence[str]) -> list[str]:
    """Return the distinct names, sorted, numbers by value."""
    distinct = sorted(set(names))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct
