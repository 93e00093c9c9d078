"""Columns of text as indicator columns, and whole numbers as values with noise of their bins."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.errors import InnflowError, cut
from innflow.system.ranks import rand

BLANK = "blank"
"""Category of a blank cell."""
MOST = 30
"""Largest number of categories of a column."""
_LARGEST = 2**20
"""Whole numbers above this have no noise, which single precision would hardly resolve."""
_NUMERIC = re.compile(r"[\d.,:/_+\-eExX%'\s]*\d[\d.,:/_+\-eExX%'\s]*|[+-]?(nan|inf(inity)?)", re.I)


def is_text(cells: Sequence[Any]) -> bool:
    """Return whether the cells of a column are text: none is blank alone, a number or a date.

    >>> is_text(["red", "", "blue"]), is_text(["red", "7"]), is_text(["1,5", "2,5"]), is_text([""])
    (True, False, False, False)
    """
    given = [cell for cell in cells if cell not in ("", None)]
    return bool(given) and all(
        isinstance(cell, str) and not _NUMERIC.fullmatch(cell) for cell in given
    )


def categories_of(path: Path, column: str, cells: Sequence[Any]) -> list[str]:
    """Return the sorted categories of a column of text.

    Raises:
        InnflowError: if there are more than `MOST`.
    """
    found = sorted({BLANK if cell in ("", None) else cell for cell in cells})
    if len(found) > MOST:
        raise InnflowError(
            f"{path}, column {cut(column)}: {len(found):,} different texts "
            f"({', '.join(map(cut, found[:3]))}, ...), at most {MOST} are taken as categories: "
            "leave it out by data.columns"
        )
    return found


def indicator_names(column: str, categories: Sequence[str]) -> list[str]:
    """Return the names of the indicator columns of a column of text."""
    return [f"{column}={category}" for category in categories]


def categories_in(names: Sequence[str], columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the categories of each column of text, from the names that a run has.

    >>> categories_in(["size", "colour=blue", "colour=red"], ["colour", "size"])
    {'colour': ['blue', 'red']}
    """
    found = {
        column: [name.removeprefix(f"{column}=") for name in names if name.startswith(f"{column}=")]
        for column in columns
    }
    return {column: names for column, names in found.items() if names}


def indicators(cells: Sequence[Any], categories: Sequence[str]) -> np.ndarray:
    """Return 1 where a cell has a category, (N, K); a row of another category has zeros."""
    blank = [cell is None or cell != cell or cell == "" for cell in cells]
    words = np.where(blank, BLANK, np.array(cells, dtype=object))
    return np.stack([words == category for category in categories], axis=1).astype(np.float64)


def whole_columns(x: Tensor) -> Tensor:
    """Return which columns of x (N, D) hold different whole numbers only, (D,).

    >>> whole_columns(torch.tensor([[1.0, 0.5, 3.0], [2.0, 1.0, 3.0]]))
    tensor([ True, False, False])
    """
    low, high = x.aminmax(dim=0)
    return (x == x.round()).all(dim=0) & (low < high) & (x.abs().amax(dim=0) < _LARGEST)


def within_bins(x: Tensor, whole: Tensor) -> Tensor:
    """Return x (B, D) with uniform noise from -1/2 to 1/2 in the columns of whole numbers."""
    if not whole.any():
        return x
    noise = rand(x.shape, batch_axis=0, dtype=x.dtype, device=x.device) - 0.5
    return torch.where(whole.to(x.device), x + noise, x)
