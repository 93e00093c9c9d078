"""Columns of tables: their choice, and a name for each value of a row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from innflow.data.table.categories import categories_of, indicator_names, is_text
from innflow.data.table.formats import Categories, read_texts
from innflow.errors import InnflowError, cut

SHOWN = 8
"""Number of column names in a message."""


def find_categories(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the categories of the columns that hold text, of a .csv or .parquet file.

    A column is text if no cell is like a number or a date; blank cells are a category.
    """
    cells = read_texts(path, columns)
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


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Return the first names as text, and the number of all where there are more."""
    shown = ", ".join(map(cut, names[:most]))
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
