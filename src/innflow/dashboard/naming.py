"""Names of runs on dashboards."""

from collections.abc import Sequence
from typing import NamedTuple

from innflow.system.secret import redact_override, redact_text

LONGEST_VALUE = 24
# Keys that do not change the result of a run.
NEUTRAL = ("experiment", "run_dir", "ckpt", "name", "stamp", "logger", "paths", "hydra")


class Names(NamedTuple):
    """Name of a run, and of the group of runs that it is compared with."""

    name: str
    group: str


def name_run(experiment: str, overrides: Sequence[str], sweep: str | None) -> Names:
    """Name a run after its overrides, and its group after its sweep or experiment.

    >>> name_run("moons", ["+experiment=moons", "model.depth=4", "seed=1"], sweep=None)
    Names(name='depth=4 seed=1', group='moons')
    """
    pairs = [redact_override(text).partition("=")[::2] for text in overrides]
    kept = [(key.lstrip("+"), value) for key, value in pairs if not key.startswith("~")]
    kept = [pair for pair in kept if pair[0].partition(".")[0] not in NEUTRAL]
    last = [key.rpartition(".")[2] for key, _ in kept]
    words = []
    for (key, value), short in zip(kept, last, strict=True):
        unique = short if last.count(short) == 1 else ".".join(key.split(".")[-2:])
        words.append(f"{unique}={_short(value)}")
    return Names(" ".join(words) or redact_text(experiment), redact_text(sweep or experiment))


def _short(value: str) -> str:
    bare = value.strip("'\"")
    bare = bare.rstrip("/").rpartition("/")[2] or bare
    return bare if len(bare) <= LONGEST_VALUE else f"{bare[: LONGEST_VALUE - 1]}…"
