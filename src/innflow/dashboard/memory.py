"""Which runs on the dashboards belong to a run folder, so that a resumed run goes on with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from innflow.config.build import build, refusals
from innflow.config.schema import target_of
from innflow.dashboard.naming import name_run
from innflow.dashboard.sink import sink_of
from innflow.errors import InnflowError
from innflow.system.atomic import write_json
from innflow.system.progress import is_leader
from innflow.system.secret import redact

MEMORY = "dashboard.json"
"""File of a run folder with the ids of its runs on dashboards."""


def open_dashboards(
    config: Mapping[str, Any],
    run_dir: Path,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
) -> list[Logger]:
    """Build the loggers of a config and send them the hyperparameters, without any secret.

    A run that is resumed goes on under the id, name and group that it began with.

    Args:
        config: plain dicts.
        run_dir: the run folder.
        overrides: what the user typed.
        sweep: name of the sweep that the run is a job of.

    Raises:
        InnflowError: if a dashboard cannot be reached, or asks for what the user has not given.
    """
    names = name_run(config["name"], overrides, sweep)
    shown = redact(config)
    known = _read(run_dir / MEMORY)
    loggers: list[Logger] = []
    for name, node in (config["logger"] or {}).items():
        if node is None:
            continue
        path = f"logger.{name}"
        if "_target_" not in node:
            raise InnflowError(f"{path}: has no _target_; logger={name} may bring it")
        sink = sink_of(target_of(path, node))
        if sink is None:
            logger = build(node, path)
            logger.log_hyperparams(shown)
        else:
            earlier = known.get(name, {})
            with refusals(path):
                prepared = sink.prepare(node, earlier, names, path)
                logger = build(prepared, path, redacted=True)
                if is_leader():
                    known[name] = sink.begin(logger, path)
                    sink.configure(logger, shown, again=bool(earlier))
        loggers.append(logger)
    if is_leader() and any(known.values()):
        write_json(run_dir / MEMORY, known)
    return loggers


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InnflowError(
            f"{path}: not readable as JSON; without the file the run goes on as a new one on its "
            "dashboards"
        ) from None
