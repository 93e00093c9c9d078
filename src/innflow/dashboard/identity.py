"""Opening the dashboards of a run, under the ids that a resumed run continues."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from innflow.config.build import build, refusals
from innflow.config.schema import target_of
from innflow.dashboard.naming import name_run
from innflow.dashboard.publish import sink_of
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_json
from innflow.system.file.record import read_json
from innflow.system.progress import is_leader
from innflow.system.secret import redact

IDENTITY = "dashboard.json"
"""File of a run folder with the id, name and group of its run on each dashboard."""
_IDS, _TEXTS = ("id", "run_id"), ("name", "group")
"""Arguments of a logger in the file: those in its addresses and paths, and those that are shown."""
UNREADABLE = "without the file the run continues as a new one on its dashboards"


def open_dashboards(
    config: Mapping[str, Any],
    run_dir: Path,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
) -> list[Logger]:
    """Build the loggers of a config and log the hyperparameters, without secrets.

    A resumed run keeps the id, name and group that it began with.

    The names of a run follow from its overrides and from the sweep that it is a job of.

    Raises:
        InnflowError: if a dashboard cannot be reached, or needs a key that is not given.

    >>> open_dashboards({"name": "moons", "logger": {}}, Path("run"))
    []
    """
    names = name_run(config["name"], overrides, sweep)
    shown = redact(config)
    identities = _read_identities(run_dir / IDENTITY)
    loggers: list[Logger] = []
    for name, node in (config["logger"] or {}).items():
        if node is None:
            continue
        path = f"logger.{name}"
        if "_target_" not in node:
            raise InnflowError(f"{path}: has no _target_; logger={name} may define it")
        sink = sink_of(target_of(path, node))
        earlier = identities.get(name, {})
        with refusals(path):
            logger = build(sink.prepare(node, earlier, names, path), path, redacted=True)
            if is_leader():
                identities[name] = sink.begin(logger, path)
                sink.configure(logger, shown, resumed=bool(earlier))
        loggers.append(logger)
    if is_leader() and any(identities.values()):
        write_json(run_dir / IDENTITY, identities)
    return loggers


def _read_identities(path: Path) -> dict[str, dict[str, Any]]:
    """Read the identities of a run, which become arguments of its loggers.

    Raises:
        InnflowError: if the file is not readable, or holds anything else.
    """
    found: Any = read_json(path, {}, UNREADABLE)
    nodes = list(found.values()) if isinstance(found, dict) else [found]
    for node in nodes:
        for key, value in node.items() if isinstance(node, dict) else [("", node)]:
            is_id = key in _IDS and re.fullmatch(r"\w[\w-]{0,127}", str(value))
            known = isinstance(value, str) and (is_id or key in _TEXTS)
            if not known and (key, value) != ("group", None):
                raise InnflowError(
                    f"{path}: holds {key}={value!r}, which is no identity of a run; {UNREADABLE}"
                )
    return dict(found)
