"""Tables of measured numbers, written as markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Spread

Cell = str | float | int | Spread | None
"""Text, a number, a median with quartiles, or None where nothing was measured."""


@dataclass
class Table:
    """One table of the results.

    Attributes:
        title: What was measured, on which shapes.
        about: How to read the table.
        columns: Names of the columns, the first for the names of the rows.
        rows: Cells, one for each column.
        notes: Lines below the table, for example on what was left out and why.
    """

    title: str
    about: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as markdown."""
        lines = [f"## {self.title}", "", self.about, ""]
        if self.rows:
            lines += [_line(self.columns), "|" + "---|" * len(self.columns)]
            lines += [_line([_text(cell) for cell in row]) for row in self.rows] + [""]
        lines += [f"- {note}" for note in self.notes] + [""] * bool(self.notes)
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """Return the table as plain values for JSON, a spread as a dict."""
        cells = [
            [cell.plain() if isinstance(cell, Spread) else cell for cell in row]
            for row in self.rows
        ]
        return asdict(self) | {"rows": cells}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Spread):
        return f"**{_number(cell.median)}** ({_number(cell.low)} to {_number(cell.high)})"
    return cell if isinstance(cell, str) else _number(cell)


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    digits = max(
        0, 3 - len(f"{abs(value):.0f}".lstrip("0"))
    )  # three significant digits, from 0.01 on
    return f"{value:.{digits}f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1e}"


def describe(threads: int, packages: Sequence[str], device: str = "cpu") -> dict[str, str]:
    """Return the processor, cores and threads of this machine, and versions of packages."""
    kind = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    card = f"{torch.cuda.get_device_name(device)}, " if device.startswith("cuda") else ""
    return {
        "machine": f"{card}{kind}, {os.cpu_count()} cores, {threads} threads",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", *packages)},
    }


def read(path: Path, machine: Mapping[str, str]) -> list[Table]:
    """Return the tables that `write` has written to a path, none if on another machine."""
    file = path.with_suffix(".json")
    plain = json.loads(file.read_text()) if file.exists() else {"machine": None}
    if plain["machine"] != dict(machine):
        return []
    for table in plain["tables"]:
        table["rows"] = [
            [Spread(**cell) if isinstance(cell, dict) else cell for cell in row]
            for row in table["rows"]
        ]
    return [Table(**table) for table in plain["tables"]]


def write(
    path: Path,
    title: str,
    about: str,
    machine: Mapping[str, str],
    settings: Mapping[str, str],
    tables: Sequence[Table],
) -> None:
    """Write tables to a markdown file and a JSON file.

    Args:
        path: Of both files, without suffix.
        title: Heading of the page.
        about: How to read the tables.
        machine: As returned by `describe`.
        settings: Of the measurement; paths and empty values are left out.
        tables: The tables in order.
    """
    shown = {name: value for name, value in settings.items() if value and "/" not in value}
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    asked = ", ".join(f"{name}={value}" for name, value in shown.items())
    head = f"# {title}\n\n{about}\n\nSettings: {asked}.\nOn {facts}.\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(head + "\n".join(table.markdown() for table in tables))
    plain = {
        "machine": dict(machine),
        "settings": shown,
        "tables": [table.plain() for table in tables],
    }
    path.with_suffix(".json").write_text(to_json(plain))


def to_json(plain: Any) -> str:
    """Return JSON with every innermost list or object on one line."""
    text = json.dumps(plain, indent=1)
    for _ in range(2):  # a spread in a row
        text = re.sub(r"[\[{]\s[^][{}]*[]}]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    return text + "\n"
