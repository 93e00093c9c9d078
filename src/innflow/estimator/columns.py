"""Columns of arrays and data frames as numbers of the order of 1."""

from typing import Any

import numpy as np

Table = dict[Any, np.ndarray]


def is_frame(x: Any) -> bool:
    """Return whether x is a data frame, as of pandas or polars."""
    return hasattr(x, "columns") and hasattr(x, "__getitem__") and not isinstance(x, np.ndarray)


def has_categories(x: Any) -> bool:
    """Return whether a data frame has a column of text, categories or truth values."""
    return is_frame(x) and any(_is_category(column) for column in _read(x).values())


class Columns:
    """Standardisation of numbers; an indicator column for each category and for missing numbers.

    A number is standardised by the mean and the standard deviation of the column, or left where the
    column is constant. A missing number (NaN) becomes the mean, and is marked in a column of its
    own, if the training rows have missing values there. A category that the training rows lack has
    zeros in all columns of its categories.

        >>> columns = Columns().fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
        >>> columns.transform(np.array([[2.0, 5.0]]))
        array([[0., 0.]])
    """

    def fit(self, x: Any) -> "Columns":
        """Read means, deviations and categories of the training rows (N, D)."""
        self.parts: list[tuple[Any, list[str] | None]] = []
        numbers, marks = [], []
        is_number: list[bool] = []
        for name, column in _read(x).items():
            if _is_category(column):
                self.parts.append((name, sorted(set(_words(column)))))
                is_number += [False] * len(self.parts[-1][1] or ())
                continue
            self.parts.append((name, None))
            numbers.append(column.astype(np.float64))
            if np.isnan(numbers[-1]).all():
                raise ValueError(f"fit: column {name} has only missing values")
            marks.append(bool(np.isnan(numbers[-1]).any()))
            is_number += [True, *[False] * marks[-1]]
        self.marked = marks
        values = np.stack(numbers, axis=1) if numbers else np.zeros((1, 0))
        self.mean = np.nanmean(values, axis=0)
        spread = np.nanstd(values, axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        encoded = self._encode(x)
        number = np.array(is_number)
        self.centre = np.where(number, 0.0, encoded.mean(axis=0))
        deviation = encoded.std(axis=0)
        self.scale = np.where(number | (deviation == 0), 1.0, deviation)
        return self

    @property
    def log_volume(self) -> float:
        """Log of the factor by which the volume of the numbers shrinks, in nats."""
        return float(np.log(self.spread).sum())

    def transform(self, x: Any) -> np.ndarray:
        """Return rows as numbers (N, E) of the order of 1.

        Raises:
            ValueError: for a value that is missing where no training row lacks one.
        """
        return (self._encode(x) - self.centre) / self.scale

    def inverse_transform(self, values: np.ndarray) -> np.ndarray:
        """Return numbers (N, D) in the units of the data; without categories or missing values."""
        return values * self.spread + self.mean

    def names(self) -> list[Any]:
        """Return the column of the data to which each column of `transform` belongs."""
        marked = iter(self.marked)
        found = []
        for name, categories in self.parts:
            count = 1 + next(marked) if categories is None else len(categories)
            found += [name] * count
        return found

    def _encode(self, x: Any) -> np.ndarray:
        table, pieces = _read(x), list[np.ndarray]()
        at = 0
        for name, categories in self.parts:
            column = table[name]
            if categories is not None:
                words = np.array(_words(column), dtype=object)
                pieces += [(words == category).astype(np.float64) for category in categories]
                continue
            number = column.astype(np.float64)
            missing = np.isnan(number)
            if missing.any() and not self.marked[at]:
                raise ValueError(
                    f"column {name} has missing values, which no training row has there"
                )
            pieces.append(np.where(missing, 0.0, (number - self.mean[at]) / self.spread[at]))
            if self.marked[at]:
                pieces.append(missing.astype(np.float64))
            at += 1
        return np.stack(pieces, axis=1)


def _read(x: Any) -> Table:
    if is_frame(x):
        return {name: np.asarray(x[name]) for name in x.columns}
    array = np.asarray(x)
    return {index: array[:, index] for index in range(array.shape[1])}


def _is_category(column: np.ndarray) -> bool:
    return column.dtype.kind not in "fiu"


def _words(column: np.ndarray) -> list[str]:
    """Return categories as text; a missing one is a category of its own."""
    return ["" if value is None or value != value else str(value) for value in column]
