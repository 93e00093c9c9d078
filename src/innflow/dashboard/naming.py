"""What a run is called on a dashboard: short, and what sets it apart from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from innflow.system.secret import redact_override, redact_text

LONGEST_VALUE = 24
# Where a run goes and what it is called say nothing of what it does.
_ELSEWHERE = ("experiment", "run_dir", "ckpt", "name", "stamp", "logger", "paths", "hydra")


class Names(NamedTuple):
    """A name for the run and one for the runs that it is to be seen with."""

    name: str
    group: str


def name_run(experiment: str, overrides: Sequence[str], sweep: str | None) -> Names:
    """Return `depth=4 seed=1` from the overrides of a run, and its sweep or experiment as group.

    Args:
        experiment: name of the experiment.
        overrides: what the user typed.
        sweep: name of the sweep that the run is a job of.
    """
    pairs = [redact_override(text).partition("=")[::2] for text in overrides]
    kept = [(key.lstrip("+"), value) for key, value in pairs if not key.startswith("~")]
    kept = [pair for pair in kept if pair[0].partition(".")[0] not in _ELSEWHERE]
    last = [key.rpartition(".")[2] for key, _ in kept]
    words = []
    for (key, value), short in zip(kept, last, strict=True):
        unique = short if last.count(short) == 1 else ".".join(key.split(".")[-2:])
        words.append(f"{unique}={_short(value)}")
    return Names(" ".join(words) or redact_text(experiment), redact_text(sweep or experiment))


def _short(value: str) -> str:
    bare = value.strip("'\"")
    bare = bare.rstrip("/").rpartition("/")[2] or bare  # the end of a path says which
    return bare if len(bare) <= LONGEST_VALUE else f"{bare[: LONGEST_VALUE - 1]}…"
