"""Tables in files as tensors of numbers and lists of class labels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innflow.data.table.categories import categories_in, indicator_names
from innflow.data.table.columns import choose_columns, listed, value_names
from innflow.data.table.csv_file import has_names
from innflow.data.table.formats import (
    Categories,
    existing_table,
    read_cells,
    read_header,
    read_unnamed,
    read_values,
)
from innflow.errors import InnflowError, cut
from innflow.system.progress import announce

_RESOLUTION = 1e-3
"""Largest rounding error of a column, in units of its range."""


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    label: str | None = None,
    apart: bool = False,
    categories: Categories | None = None,
    blanks: bool = False,
    missing: bool = False,
) -> tuple[Tensor, list[str]]:
    """Return the rows of a table, float32 (N, D), and a name "file/row" for each, from 0.

    The columns are used in the given order; by default all but the label, which may be missing. A
    column of text with given `categories` becomes an indicator for each. With `blanks`, rows in
    which a number is missing are left out; with `missing`, a blank cell or NaN is NaN.

    Raises:
        InnflowError: The file or a column is missing, a cell is not a finite number, or, with
            `apart`, single precision cannot resolve the values of a column.
    """
    path = existing_table(path)
    widths, categories = read_header(path, label), categories or {}
    chosen = choose_columns(path, widths, columns, label if label in widths else None)
    values = read_values(path, chosen, categories, blanks or missing)
    if not len(values):
        raise InnflowError(f"{path} has no rows below its column names")
    kept = ~np.isnan(values).any(axis=1) if blanks else np.ones(len(values), dtype=bool)
    rows, values = np.flatnonzero(kept), values[kept]
    if not len(values):
        raise InnflowError(f"{path}: every row has a blank: leave columns out by data.columns")
    if not kept.all():
        announce(
            f"warning: {path}: {(~kept).sum():,} of {len(kept):,} rows have blanks and are left "
            "out; innflow.estimator.FlowAnomalyDetector takes missing numbers"
        )
    with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is an error below
        x = values.astype(np.float32)
    bad = np.argwhere(~(np.isfinite(x) | (np.isnan(values) & missing)))
    names = [name for name in chosen for _ in range(len(categories.get(name, ())) or widths[name])]
    if len(bad):
        row, at = bad[0].tolist()
        column = names[at]
        raise InnflowError(
            f"{path}, row {rows[row]} (from 0), column {cut(column)}: {values[row, at]} is not a "
            "finite number in single precision: correct or remove it"
        )
    spread = _spread(values)
    rounding = np.nan_to_num(np.abs(values - x)).max(axis=0)
    coarse = (rounding > _RESOLUTION * spread) & (spread > 0)
    if apart and coarse.any():
        column = names[int(coarse.argmax())]
        raise InnflowError(
            f"{path}, column {cut(column)}: its values differ by less than single precision "
            "resolves: subtract a constant from it, or leave it out"
        )
    return torch.from_numpy(x), [f"{path.name}/{row}" for row in rows]


def _spread(values: np.ndarray) -> np.ndarray:
    """Return the range (D,) of the values (N, D) that are not missing."""
    known = ~np.isnan(values)
    highest = np.max(values, axis=0, where=known, initial=-np.inf)
    return highest - np.min(values, axis=0, where=known, initial=np.inf)


def read_rows(
    path: str | os.PathLike[str],
    names: Sequence[str],
    key: str,
    label: str | None = None,
    note: Callable[[str], None] = announce,
    missing: bool = False,
) -> Tensor:
    """Return named columns of a table, float32 (B, len(names)), in the order of the names.

    Columns are matched by name, or by position where none of the names occurs and the table has as
    many columns besides the label, which may be missing. The first line of a CSV file may be
    numbers: then its columns are taken by position. Columns of text become the indicators of the
    categories that the names have. An array a (N, D) of an .npz is D columns
    a0, a1 ... Messages name the table by `key`, the argument that gives it, and `note` is called
    with lines for the user. With `missing`, a blank cell or NaN is NaN.

    Raises:
        InnflowError: A column is missing, or a value without `missing`.
    """
    place = existing_table(path)
    if place.suffix.lower() == ".csv" and not has_names(place):
        note(f"{key}={path}: has no column names, its columns are taken as {listed(names)}")
        return _read_unnamed(place, names)
    widths = read_header(place, label)
    widths.pop(label or "", None)
    texts = categories_in(names, list(widths))
    spread = {
        column: value_names(column, width, texts.get(column, ()))
        for column, width in widths.items()
    }
    found = [name for group in spread.values() for name in group]
    if set(names) <= set(found):
        needed = [column for column, group in spread.items() if set(group) & set(names)]
        values, _ = read_table(path, needed, categories=texts, missing=missing)
        given = [name for column in needed for name in spread[column]]
        others = [name for name in found if name not in names]
        if others:
            note(f"{key}={path}: {listed(others)} ignored, the run has no such columns")
        for column, categories in texts.items():
            at = [given.index(name) for name in indicator_names(column, categories)]
            other = int((values[:, at].sum(dim=1) == 0).sum())
            if other:
                note(f"{key}={path}: {column} is of no category of the run in {other:,} rows")
        return values[:, [given.index(name) for name in names]]
    # A known name in another position: the columns are not in the order of the run.
    moved = any(name in names and names.index(name) != i for i, name in enumerate(found))
    if len(found) != len(names) or moved:
        raise InnflowError(
            f"{key}={path}: has the columns {listed(found)}, the run has {listed(names)}"
        )
    values, _ = read_table(path, label=label, missing=missing)
    note(f"{key}={path}: {listed(found)} taken by position as {listed(names)}")
    return values


def read_labels(path: str | os.PathLike[str], column: str) -> list[str]:
    """Return the name of the class of each row of a table; integers become their digits.

    Raises:
        InnflowError: A row has no class, or a number that is not an integer.
    """
    path = existing_table(path)
    names = []
    for row, value in enumerate(read_cells(path, column)):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        name = str(int(value)) if whole else value
        if not isinstance(name, str) or not name:
            raise InnflowError(
                f"{path}, row {row} (from 0), column {cut(column)}: {cut(repr(value))} is no "
                "class: give a name or an integer"
            )
        names.append(name)
    return names


def _read_unnamed(path: Path, names: Sequence[str]) -> Tensor:
    """Return the rows of a CSV file without column names, float32 (B, len(names))."""
    x = read_unnamed(path, names).astype(np.float32)
    if not np.isfinite(x).all():
        raise InnflowError(f"{path}: a number is too large for single precision")
    return torch.from_numpy(x)
