"""Values of tables in CSV, NPZ or Parquet files, as each format holds them."""

import importlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from innflow.data.table.categories import indicators
from innflow.data.table.csv_file import parse_number, read_csv_cells, read_csv_header
from innflow.errors import InnflowError, cut
from innflow.system.file.npz import DAMAGE, check_archive, read_arrays
from innflow.system.file.regular import why_not_regular

Categories = Mapping[str, Sequence[str]]
"""Column of text -> its categories."""
_SUFFIXES = (".csv", ".npz", ".parquet")
_BLANKS = ("", "na", "n/a", "nan", "null", "none")


def existing_table(path: str | os.PathLike[str]) -> Path:
    """Return the path of a table; an error says what is wrong with it."""
    place = Path(path).expanduser()
    if place.suffix.lower() not in _SUFFIXES:
        raise InnflowError(f"{place}: expected a file of the kind {', '.join(_SUFFIXES)}")
    if reason := why_not_regular(place):
        raise InnflowError(f"{place} {reason}: give the path of a table")
    return place


def read_header(path: Path, label: str | None = None) -> dict[str, int]:
    """Return the number of values of each column in a row, from the header alone."""
    with _whole(f"{path}"):
        if path.suffix.lower() == ".csv":
            widths = dict.fromkeys(read_csv_header(path), 1)
        elif path.suffix.lower() == ".npz":
            widths = _npz_header(path, label)
        else:
            widths = dict.fromkeys(_parquet(path).read_schema(path).names, 1)
    if not any(widths.values()):
        raise InnflowError(f"{path} has no columns")
    if not all(name.strip() for name in widths):
        raise InnflowError(f"{path}: a column has no name")
    return widths


def read_values(
    path: Path, columns: list[str], categories: Categories | None = None, blanks: bool = False
) -> np.ndarray:
    """Return the numbers of columns, float64 (N, D); a column of text has its indicators.

    With `blanks`, a blank cell is NaN.

    Raises:
        InnflowError: The file is damaged, or a cell is not a finite number.
    """
    read = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}[path.suffix.lower()]
    with _whole(f"{path}"):
        return read(path, columns, categories or {}, blanks)


def read_unnamed(path: Path, names: Sequence[str]) -> np.ndarray:
    """Return the numbers of a CSV file without column names, float64 (N, len(names))."""
    with _whole(f"{path}"):
        return _to_numbers(read_csv_cells(path, names, names), list(names), False)


def read_cells(path: Path, column: str) -> list[Any]:
    """Return what each row of a column holds: text, numbers or None."""
    with _whole(f"{path}, column {cut(column)}"):
        if path.suffix.lower() == ".csv":
            return [cells[0] for _, cells in read_csv_cells(path, [column])]
        if path.suffix.lower() == ".npz":
            values: list[Any] = read_arrays(path, [column])[column].tolist()
        else:
            values = _parquet(path).read_table(path, columns=[column])[column].to_pylist()
        return values


def read_texts(path: Path, columns: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Return the cells of those columns that may hold text; an .npz file has none."""
    if path.suffix.lower() == ".csv":
        rows = [row for _, row in read_csv_cells(path, columns)]
        return dict(zip(columns, zip(*rows, strict=True), strict=False))
    if path.suffix.lower() == ".parquet":
        types = importlib.import_module("pyarrow.types")
        table = _parquet(path).read_table(path, columns=list(columns))
        words = [c for c in columns if types.is_string(table[c].type)]
        return {column: table[column].to_pylist() for column in words}
    return {}


@contextmanager
def _whole(what: str) -> Iterator[None]:
    """Turn the errors of a damaged file into one line."""
    try:
        yield
    except DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InnflowError(f"{what} cannot be read: {reason}") from error


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
