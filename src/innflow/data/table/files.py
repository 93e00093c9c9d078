"""Tables in CSV, NPZ or Parquet files: column names, numbers and class labels."""

import importlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.table.categories import (
    categories_in,
    categories_of,
    indicator_names,
    indicators,
    is_text,
)
from innflow.data.table.csv_file import has_names, parse_number, read_csv_cells, read_csv_header
from innflow.errors import InnflowError, cut
from innflow.system.file.npz import DAMAGE, check_archive, read_arrays
from innflow.system.file.regular import why_not_regular
from innflow.system.progress import announce

SHOWN = 8
"""Number of column names in a message."""
_RESOLUTION = 1e-3
"""Largest rounding error of a column, in units of its range."""
_SUFFIXES = (".csv", ".npz", ".parquet")
_BLANKS = ("", "na", "n/a", "nan", "null", "none")
Categories = Mapping[str, Sequence[str]]
"""Column of text -> its categories."""


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
    read = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}[path.suffix.lower()]
    try:
        values = read(path, chosen, categories, blanks or missing)
    except DAMAGE as error:
        raise InnflowError(f"{path} cannot be read: {_first_line(error)}") from error
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


def find_categories(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the categories of the columns that hold text, of a .csv or .parquet file.

    A column is text if no cell is like a number or a date; blank cells are a category.
    """
    cells: Mapping[str, Sequence[Any]] = {}
    if path.suffix.lower() == ".csv":
        rows = [row for _, row in read_csv_cells(path, columns)]
        cells = dict(zip(columns, zip(*rows, strict=True), strict=False))
    elif path.suffix.lower() == ".parquet":
        types = importlib.import_module("pyarrow.types")
        table = _parquet(path).read_table(path, columns=list(columns))
        words = [c for c in columns if types.is_string(table[c].type)]
        cells = {column: table[column].to_pylist() for column in words}
    texts = {column: values for column, values in cells.items() if is_text(values)}
    return {column: categories_of(path, column, values) for column, values in texts.items()}


def value_names(column: str, width: int, categories: Sequence[str] = ()) -> list[str]:
    """Return a name for each value that a column holds in a row."""
    if categories:
        return indicator_names(column, categories)
    return [column] if width == 1 else [f"{column}{i}" for i in range(width)]


def spread_names(
    columns: Sequence[str],
    widths: Mapping[str, int],
    categories: Categories | None = None,
) -> list[str]:
    """Return a name for each value of a row; an error names one that occurs twice."""
    texts = categories or {}
    names = [
        name
        for column in columns
        for name in value_names(column, widths[column], texts.get(column, ()))
    ]
    if len(set(names)) < len(names):
        raise InnflowError(f"the columns {listed(names)} have a name twice: rename an array")
    return names


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
    values: list[Any]
    try:
        if path.suffix.lower() == ".csv":
            values = [cells[0] for _, cells in read_csv_cells(path, [column])]
        elif path.suffix.lower() == ".npz":
            values = read_arrays(path, [column])[column].tolist()
        else:
            values = _parquet(path).read_table(path, columns=[column])[column].to_pylist()
    except DAMAGE as error:
        raise InnflowError(
            f"{path}, column {cut(column)} cannot be read: {_first_line(error)}"
        ) from error
    names = []
    for row, value in enumerate(values):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        name = str(int(value)) if whole else value
        if not isinstance(name, str) or not name:
            raise InnflowError(
                f"{path}, row {row} (from 0), column {cut(column)}: {cut(repr(value))} is no "
                "class: give a name or an integer"
            )
        names.append(name)
    return names


def existing_table(path: str | os.PathLike[str]) -> Path:
    """Return the path of a table; an error says what is wrong with it."""
    place = Path(path).expanduser()
    if place.suffix.lower() not in _SUFFIXES:
        raise InnflowError(f"{place}: expected a file of the kind {', '.join(_SUFFIXES)}")
    if reason := why_not_regular(place):
        raise InnflowError(f"{place} {reason}: give the path of a table")
    return place


def choose_columns(
    path: Path, widths: dict[str, int], columns: Sequence[str] | None, label: str | None
) -> list[str]:
    """Return the columns to read, by default all but the label; an error names a wrong one."""
    known = ", ".join(widths)
    if label is not None and label not in widths:
        raise InnflowError(f"data.label: {path} has no column {label}: choose from {known}")
    if columns is None:
        columns = [column for column in widths if column != label]
    if label in columns:
        raise InnflowError(f"data.label={label} is among data.columns too: leave it out there")
    return check_columns("columns", columns, widths, path)


def check_columns(
    key: str, columns: str | Sequence[str], widths: dict[str, int], path: Path
) -> list[str]:
    """Return columns of a table, at least one; an error names a missing or repeated one."""
    known, listed = ", ".join(widths), [columns] if isinstance(columns, str) else list(columns)
    if not listed or len(set(listed)) < len(listed):
        raise InnflowError(f"data.{key}={listed}: give each column once, from {known}")
    for column in listed:
        if column not in widths:
            raise InnflowError(f"data.{key}: {path} has no column {column}: choose from {known}")
    return listed


def read_header(path: Path, label: str | None = None) -> dict[str, int]:
    """Return the number of values of each column in a row, from the header alone."""
    try:
        if path.suffix.lower() == ".csv":
            widths = dict.fromkeys(read_csv_header(path), 1)
        elif path.suffix.lower() == ".npz":
            widths = _npz_header(path, label)
        else:
            widths = dict.fromkeys(_parquet(path).read_schema(path).names, 1)
    except DAMAGE as error:
        raise InnflowError(f"{path} cannot be read: {_first_line(error)}") from error
    if not any(widths.values()):
        raise InnflowError(f"{path} has no columns")
    if not all(name.strip() for name in widths):
        raise InnflowError(f"{path}: a column has no name")
    return widths


def _npz_header(path: Path, label: str | None) -> dict[str, int]:
    headers = check_archive(path)
    for name, (shape, dtype) in headers.items():
        if name == label:
            dims, kinds, expected = [1], "iufU", "(N,) names or integers"
        else:
            dims, kinds, expected = [1, 2], "fiub", "(N,) or (N, D) numbers"
        if len(shape) not in dims or dtype.kind not in kinds:
            raise InnflowError(f"{path}: array {name} {dtype} {shape} is not {expected}")
    shapes = {name: shape for name, (shape, _) in headers.items()}
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise InnflowError(f"{path}: its arrays differ in length: {shapes}")
    return {name: 1 if len(shape) == 1 else shape[1] for name, shape in shapes.items()}


def _read_unnamed(path: Path, names: Sequence[str]) -> Tensor:
    """Return the rows of a CSV file without column names, float32 (B, len(names))."""
    try:
        found = _to_numbers(read_csv_cells(path, names, names), list(names), False)
    except DAMAGE as error:
        raise InnflowError(f"{path} cannot be read: {_first_line(error)}") from error
    x = found.astype(np.float32)
    if not np.isfinite(x).all():
        raise InnflowError(f"{path}: a number is too large for single precision")
    return torch.from_numpy(x)


def _read_csv(path: Path, columns: list[str], categories: Categories, blanks: bool) -> np.ndarray:
    if not categories:
        return _to_numbers(read_csv_cells(path, columns), columns, blanks)
    numbers = [column for column in columns if column not in categories]
    values = _to_numbers(read_csv_cells(path, numbers), numbers, blanks)
    texts = [cells for _, cells in read_csv_cells(path, list(categories))]
    cells = dict(zip(categories, zip(*texts, strict=True), strict=False))
    return np.column_stack(
        [
            indicators(cells[column], categories[column])
            if column in categories
            else values[:, numbers.index(column)]
            for column in columns
        ]
    )


def _to_numbers(
    places: Iterable[tuple[str, list[str]]], columns: list[str], blanks: bool
) -> np.ndarray:
    """Return the cells as numbers (N, D); NaN for blank ones where they are taken."""
    rows: list[list[float]] = []
    for where, cells in places:
        row: list[float] = []
        for column, cell in zip(columns, cells, strict=True):
            number = math.nan if blanks and cell.lower() in _BLANKS else parse_number(cell)
            if number is None:
                raise InnflowError(
                    f"{where}, column {cut(column)}: {cut(cell)!r} is not a finite number: "
                    "correct or remove it"
                )
            row.append(number)
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, len(columns))


def _read_npz(path: Path, columns: list[str], *_: Any) -> np.ndarray:
    arrays = read_arrays(path, columns)
    return np.column_stack([arrays[column] for column in columns]).astype(np.float64)


def _read_parquet(
    path: Path, columns: list[str], categories: Categories, blanks: bool
) -> np.ndarray:
    table = _parquet(path).read_table(path, columns=columns)
    types = importlib.import_module("pyarrow.types")
    numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    values = []
    for column in columns:
        if column in categories:
            values.append(indicators(table[column].to_pylist(), categories[column]))
            continue
        kind = table[column].type
        if not any(is_kind(kind) for is_kind in numeric):  # a date would become a number
            raise InnflowError(f"{path}, column {cut(column)}: expected numbers, not {kind}")
        values.append(table[column].to_numpy().astype(np.float64))
    return np.column_stack(values)


def _parquet(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InnflowError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Return the first names as text, and the number of all where there are more."""
    shown = ", ".join(map(cut, names[:most]))
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
