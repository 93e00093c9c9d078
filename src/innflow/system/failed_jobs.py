"""Failed jobs of a sweep: a line for the user, and a file for the report of the sweep."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from innflow.system.file.atomic import write_json
from innflow.system.file.record import read_json
from innflow.system.secret import redact_override, redact_text

FAILED = "failed.json"
"""File in the folder of a failed job: job, overrides, state and reason."""


def note_failure(
    folder: Path, job: int, overrides: Sequence[str], state: str, reason: str
) -> dict[str, Any]:
    """Write failed.json of a job, unless another of its processes has; return its content."""
    shown = [redact_override(each) for each in overrides]
    failure = {"job": job, "overrides": shown, "state": state, "reason": redact_text(reason)}
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FAILED).exists():
        write_json(folder / FAILED, failure)
    return read_failure(folder) or failure


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Return the content of failed.json, or None where there is none."""
    failure: dict[str, Any] | None = read_json(folder / FAILED, None)
    return failure


def print_failure(failure: dict[str, Any], fixed: Sequence[str] = ()) -> None:
    """Write one line on stderr, without the overrides `fixed` that all jobs share."""
    shared = {each.lower() for each in fixed}  # Hydra rewrites false as False
    own = " ".join(each for each in failure["overrides"] if each.lower() not in shared)
    job, state, reason = failure["job"], failure["state"], failure["reason"]
    sys.stderr.write(f"innflow-train: job {job}: {state} ({own}): {reason}\n")


class SweepEnd(Callback):
    """Hydra callback that checks a sweep before its jobs, and collects their failures at its end.

    Attributes:
        check: called with the config without the swept keys.
        failures: content of failed.json of each failed job, wherever it has run.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> _ = note_failure(folder / "0", 0, ["seed=1"], "FAILED", "out of memory")
    >>> SweepEnd().on_multirun_end(DictConfig({"hydra": {"sweep": {"dir": str(folder)}}}))
    >>> SweepEnd.failures[0]["reason"]
    'out of memory'
    """

    check: ClassVar[Callable[[DictConfig], None] | None] = None
    failures: ClassVar[list[dict[str, Any]]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the sweep once: jobs side by side would each print the same error."""
        if SweepEnd.check is not None:
            SweepEnd.check(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the failures of all jobs of the sweep."""
        folders = (path.parent for path in Path(config.hydra.sweep.dir).rglob(FAILED))
        found = (read_failure(folder) for folder in folders)
        SweepEnd.failures = [failure for failure in found if failure is not None]
