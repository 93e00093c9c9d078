"""Rows of a table under the names that a run knows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from innflow.data.table.table import column_widths, read_table
from innflow.errors import InnflowError
from innflow.system.progress import announce

SHOWN = 8


def read_rows(path: str, names: Sequence[str], key: str) -> Tensor:
    """Return the rows of a table, float32 (B, len(names)), in the order of the names.

    Columns are found by their names; where they have others but are as many, by their position.

    Args:
        path: A .csv, .npz or .parquet file. An array (N, D) of an .npz is D columns a0, a1 ...
        names: Of the columns that are wanted.
        key: What the user calls the table, for messages.

    Raises:
        InnflowError: A column or a value is missing.
    """
    spread = {
        column: [column] if width == 1 else [f"{column}{i}" for i in range(width)]
        for column, width in column_widths(path).items()
    }
    found = [name for group in spread.values() for name in group]
    if set(names) <= set(found):
        needed = [column for column, group in spread.items() if set(group) & set(names)]
        values, _ = read_table(path, needed)
        given = [name for column in needed for name in spread[column]]
        others = [name for name in found if name not in names]
        if others:
            announce(f"{key}={path}: {_listed(others)} ignored, the run has no such columns")
        return values[:, [given.index(name) for name in names]]
    # A known name in another place says that the order of the columns is not that of the run.
    moved = any(name in names and names.index(name) != i for i, name in enumerate(found))
    if len(found) != len(names) or moved:
        raise InnflowError(
            f"{key}={path}: has the columns {_listed(found)}, the run takes {_listed(names)}"
        )
    values, _ = read_table(path)
    announce(f"{key}={path}: {_listed(found)} taken by position as {_listed(names)}")
    return values


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown}, ... ({len(names)} columns)"
