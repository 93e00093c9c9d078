"""Column names and cells of CSV files: separated by commas, in UTF-8, names in the first line."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from innflow.errors import InnflowError

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_OTHER_FORMATS = {"<": "HTML or XML", "{": "JSON"}


def read_csv_header(path: Path) -> list[str]:
    """Return the column names of a file; none of an empty one.

    Raises:
        InnflowError: The file has another format or separator, or a name is missing or repeated.
    """
    for _, header in _rows(path):
        fault = _find_fault(header)
        if fault:
            raise InnflowError(f"{path}: {fault}")
        return header
    return []


def has_names(path: Path) -> bool:
    """Return whether the first line of a file holds anything but numbers."""
    return not all(_looks_numeric(cell) for _, header in islice(_rows(path), 1) for cell in header)


def read_csv_cells(
    path: Path, columns: Sequence[str], header: Sequence[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each row, for messages, and its cells in these columns.

    Args:
        path: of the file.
        columns: names from the header.
        header: names of the columns of a file whose first line has none.

    Raises:
        InnflowError: A row has too many or too few cells, or the file is no CSV file.
    """
    rows = _rows(path)
    if header is None:
        header = read_csv_header(path)
        next(rows)
    at = [header.index(column) for column in columns]
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            raise InnflowError(f"{where}: {len(cells)} cells for {len(header)} columns")
        yield where, [cells[i] for i in at]


def parse_number(cell: str) -> float | None:
    r"""Return the finite number that a cell holds, or None.

    >>> parse_number("1e3"), parse_number("1_000"), parse_number("\uff11"), parse_number("nan")
    (1000.0, None, None, None)
    """
    try:
        number = float(cell)
    except ValueError:
        return None
    # Python accepts underscores between digits, and the digits of every script; others do not.
    return number if math.isfinite(number) and "_" not in cell and cell.isascii() else None


def _find_fault(header: Sequence[str]) -> str | None:
    """Return what is wrong with the cells of the first line."""
    other = _OTHER_FORMATS.get(header[0][:1])
    if other or "\0" in header[0]:
        return f"is {other or 'binary'}, not CSV: give a table of numbers separated by commas"
    separators = [words for sign, words in _SEPARATORS.items() if sign in header[0]]
    if len(header) == 1 and separators:
        return f"its columns are separated by {separators[0]}: separate them by commas"
    if all(_looks_numeric(cell) for cell in header):
        return "its first line holds numbers, expected the column names: add a line of names"
    if "" in header:
        return (
            f"column {header.index('') + 1} of its first line has no name: name or remove it "
            "(pandas writes an index without a name: to_csv(index=False))"
        )
    if len(set(header)) < len(header):
        double = next(name for name in header if header.count(name) > 1)
        return f"its first line names a column twice: {double}"
    return None


def _looks_numeric(cell: str) -> bool:
    """Return whether a cell is blank or any number, NaN and infinity included."""
    try:
        return not cell or float(cell) is not None
    except ValueError:
        return False


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line of each row that is not blank, and its stripped cells."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if len(stripped) > 1 or any(stripped):
                    yield reader.line_num, stripped
        except csv.Error as error:
            raise InnflowError(f"{path}, line {reader.line_num}: no CSV: {error}") from error
        except UnicodeDecodeError as error:
            line = _undecodable_line(path)
            raise InnflowError(
                f"{path}, line {line}: is not UTF-8 text: save the table as UTF-8"
            ) from error


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number
