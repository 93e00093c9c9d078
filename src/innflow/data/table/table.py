"""Vectors from the columns of a CSV, NPZ or Parquet file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from innflow.data.base import PartsDataModule, check_fraction
from innflow.data.sets import PartsSet, make_sets
from innflow.data.table.categories import whole_columns, within_bins
from innflow.data.table.columns import choose_columns, find_categories, listed, spread_names
from innflow.data.table.files import read_labels, read_table
from innflow.data.table.formats import existing_table, read_header
from innflow.errors import InnflowError
from innflow.system.progress import announce

_FEW = 10
"""Number of distinct values up to which a column counts as discrete."""


class Table(PartsDataModule):
    """Rows of a table as vectors.

    Columns that are constant over the training rows have no density: they are left out, with a line
    for the user, so that the file is read when the module is built. A column of text becomes an
    indicator for each of its categories. Rows in which a number is missing are left out. Training
    adds uniform noise from -1/2 to 1/2 to whole numbers (dequantization), so that log p of whole
    numbers approximates their log probability.

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
        label: Column of class names or integers; the sorted classes are labels 0, 1 and so on.
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
        self.path = existing_table(path)
        self.outliers = None if outliers is None else existing_table(outliers)
        self.label = label
        widths = read_header(self.path, label)
        self.chosen = choose_columns(self.path, widths, columns, label)
        self._categories = find_categories(self.path, self.chosen)
        self._values = spread_names(self.chosen, widths, self._categories)
        super().__init__((len(self._values),), batch_size, holdout, workers, seed)
        self._x, self._rows = self._read(self.path)
        train = self._split(self._x)["train"].parts["x"]
        low, high = train.aminmax(dim=0)
        self._constant = {
            self._values[i]: low[i].item() for i in (low == high).nonzero()[:, 0].tolist()
        }
        kept = [name for name in self._values if name not in self._constant]
        if not kept:
            raise InnflowError(f"{self.path}: every column is constant over the training rows")
        self._use(kept)

    def _use(self, names: Sequence[str]) -> None:
        """Let x consist of the columns of these names."""
        self._names = list(names)
        self.shape = (len(self._names),)
        self._sets = {}

    def use_columns(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Take x from the columns of a trained run, which may have left out others.

        Raises:
            InnflowError: The file lacks one of them.
        """
        names = columns.get("x", self._names)
        missing = [name for name in names if name not in self._values]
        if missing:
            raise InnflowError(f"{self.path} has no column {missing[0]}, which the run has")
        self._use(names)

    @property
    def columns(self) -> dict[str, list[str]]:
        """Names of the values of x, and of the classes under "label"."""
        return {"x": self._names} | super().columns

    @property
    def classes(self) -> list[str]:
        """Name of each label, from the file; empty without labels."""
        if self.label is not None and not self._classes:
            self._classes = _sorted(read_labels(self.path, self.label))
            if len(self._classes) < 2:
                raise InnflowError(
                    f"data.label={self.label} needs two classes or more, {self.path} has "
                    f"{', '.join(self._classes) or 'none'}"
                )
        return self._classes

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the rows of the file in three disjoint sets, and the outliers."""
        at = [self._values.index(name) for name in self._names]
        sets = self._split(self._x[:, at])
        self._note_columns(sets["train"].parts["x"])
        if self.outliers is not None:
            other, other_names = self._read(self.outliers)
            if other.shape[1:] != self._x.shape[1:]:
                raise InnflowError(
                    f"{self.outliers} has {other.shape[1]} values a row, {self.path} "
                    f"{self._x.shape[1]}"
                )
            self._note_equal(other, other_names)
            sets["outliers"] = PartsSet("outliers", "outlier", {"x": other[:, at]}, other_names)
        return sets

    def _read(self, path: Path) -> tuple[Tensor, list[str]]:
        """Return the values (N, D) of the rows of a file without blanks, and their names."""
        return read_table(
            *(path, self.chosen, self.label),
            apart=path == self.path,
            categories=self._categories,
            blanks=True,
        )

    def augment(self, x: Tensor) -> Tensor:
        """Return x with uniform noise in the columns of whole numbers."""
        return within_bins(x, self._whole)

    def _split(self, x: Tensor) -> dict[str, PartsSet]:
        """Return the sets of rows x of the file, with labels if there are any."""
        parts = {"x": x}
        if self.label is not None:
            labels = {name: label for label, name in enumerate(self.classes)}
            found = read_labels(self.path, self.label)
            kept = [int(name.rpartition("/")[2]) for name in self._rows]
            parts["label"] = torch.tensor([labels[found[row]] for row in kept])
        items, of = PartsSet("rows", "train", parts, self._rows), f"{self.path}, rows"
        return make_sets(items, self.test, self.holdout, self.seed, of, classes=self.classes)

    def _note_columns(self, train: Tensor) -> None:
        """Announce the columns that are left out, equal to others, or of few distinct values."""
        if self._categories:
            texts = [f"{name} ({len(of)})" for name, of in self._categories.items()]
            announce(f"{self.path}: text, taken as categories: {listed(texts)}")
        left = {name: low for name, low in self._constant.items() if name not in self._names}
        out = [f"{name} ({value:g})" for name, value in left.items()]
        if out:
            announce(
                f"warning: {self.path}: constant over the training rows and left out: {listed(out)}"
            )
        first: dict[bytes, str] = {}
        pairs = zip(_keys(train.T), self._names, strict=True)
        firsts = [(name, first.setdefault(key, name)) for key, name in pairs]
        equal = [f"{name} = {other}" for name, other in firsts if name != other]
        if equal:
            announce(
                f"warning: {self.path}: equal columns, of which there is no density: "
                f"{listed(equal)}; choose by data.columns"
            )
        counts = [len(column.unique()) for column in train.T]
        self._whole = whole_columns(train)
        whole = [name for name, is_whole in zip(self._names, self._whole, strict=True) if is_whole]
        if whole:
            announce(
                f"{self.path}: whole numbers, to which training adds uniform noise from -1/2 to "
                f"1/2 (dequantization): {listed(whole)}"
            )
        few = [
            name
            for name, n in zip(self._names, counts, strict=True)
            if n <= _FEW < len(train) and name not in whole
        ]
        if few:
            announce(
                f"warning: {self.path}: at most {_FEW} distinct values in {listed(few)}: the "
                "likelihood of a density is unbounded on discrete values"
            )

    def _note_equal(self, other: Tensor, other_names: Sequence[str]) -> None:
        """Announce the outliers that are equal to rows of the file."""
        row_of = dict(zip(_keys(self._x), self._rows, strict=True))
        keys = zip(_keys(other), other_names, strict=True)
        equal = [f"{name} is {row_of[key]}" for key, name in keys if key in row_of]
        if equal:
            announce(
                f"warning: {self.outliers}: {len(equal):,} of {len(other):,} outliers are equal to "
                f"rows of {self.path} ({listed(equal, 3)}): remove them from one of the files"
            )


def _keys(x: Tensor) -> list[bytes]:
    """Return the bytes of each row, equal for equal rows."""
    return [row.tobytes() for row in (x + 0.0).numpy()]  # -0.0 becomes 0.0


def _sorted(names: Sequence[str]) -> list[str]:
    """Return the distinct names, sorted, numbers by value."""
    distinct = sorted(set(names))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct
