"""Table of what was tried, from the files of a chaos run, for docs/reliability.md.

CHAOS_OUT=OUT pytest tests/chaos
python tests/chaos/table.py OUT docs/reliability.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- tried: written by tests/chaos/table.py -->", "<!-- end of tried -->"


def make(rows: list[dict[str, Any]]) -> str:
    """Return the table, sorted by kind, with a line of sums."""
    lines = [
        "| what | cases | worked | refused in one line | fell short |",
        "|---|---|---|---|---|",
    ]
    names = ("cases", "worked", "refused", "short")
    for row in sorted(rows, key=lambda row: str(row["kind"])):
        lines.append(" | ".join([f"| {row['kind']}", *(f"{row[name]:,}" for name in names)]) + " |")
    sums = (f"{sum(row[name] for row in rows):,}" for name in names)
    return "\n".join([*lines, " | ".join(["| all", *sums]) + " |"])


def main(folder: Path, page: Path) -> None:
    """Replace the table of a page."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    before, _, rest = page.read_text().partition(BEGIN)
    seeds = sorted({row["seed"] for row in rows})
    minutes = sum(row["processor_seconds"] for row in rows) / 60
    note = f"Seeds {', '.join(map(str, seeds))}; {minutes:.1f} minutes of processor time."
    page.write_text(f"{before}{BEGIN}\n{make(rows)}\n\n{note}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
