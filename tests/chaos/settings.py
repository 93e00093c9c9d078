"""How much chaos: read from the environment, described in docs/reliability.md."""

from __future__ import annotations

import os
from pathlib import Path

CASES = int(os.environ.get("CHAOS_CASES", "2000"))
"""Cases of all kinds together; each kind has a share of them."""
SEED = int(os.environ.get("CHAOS_SEED", "0"))
"""Of all generators."""
KILLS = int(os.environ.get("CHAOS_KILLS", "12"))
"""Real processes that are stopped at a random moment."""
OUT = Path(os.environ["CHAOS_OUT"]) if "CHAOS_OUT" in os.environ else None
"""Folder for a JSON file of each kind, from which `python -m tests.chaos.table` makes the table."""
SECONDS = 30
"""In which a command works or refuses."""
MEMORY = 4 << 30
"""Bytes that a command may allocate above those of a process that has imported everything."""


def share(percent: float) -> int:
    """Return the number of cases of a kind, from its percentage of all cases."""
    return max(1, round(CASES * percent / 100))
