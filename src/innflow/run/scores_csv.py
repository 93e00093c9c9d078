"""scores.csv or scores.json: one row per scored item."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from innflow.system.file.atomic import write_text

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""First characters by which a spreadsheet recognises a formula."""


def write_scores(items: Mapping[str, np.ndarray], path: Path) -> None:
    """Write columns, each (N,), as a CSV or a .json file that stores numbers without rounding."""
    write_text(path, to_json(items) if path.suffix.lower() == ".json" else to_csv(items))


def to_json(items: Mapping[str, np.ndarray]) -> str:
    """Return columns, each (N,), as a JSON list of one object per item.

    Infinite scores are null, as JSON has no such number.
    """
    columns = [[_finite(value) for value in column.tolist()] for column in items.values()]
    rows = [dict(zip(items, row, strict=True)) for row in zip(*columns, strict=True)]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def to_csv(items: Mapping[str, np.ndarray]) -> str:
    """Return columns, each (N,), as CSV text in which no cell is a formula of a spreadsheet.

    Bytes of a file name that are not UTF-8 are written as Python escapes. A file name that begins
    like a formula gets the prefix `./`, which gives the same path.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(items)
    columns = [[_clean(value) for value in column.tolist()] for column in items.values()]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _clean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text.startswith(FORMULA) else text
