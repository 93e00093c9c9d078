"""Weights & Biases: offline unless asked otherwise, one run a run folder, however often resumed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from PIL import Image

from innflow.errors import InnflowError
from innflow.system.secret import check_complete, redact

if TYPE_CHECKING:
    from innflow.dashboard.naming import Names
    from innflow.dashboard.sink import Picture, Sheet

LONGEST = 128
"""Letters of a name or a group that W&B takes."""
STEP = "trainer/global_step"
# Everything else that wandb.init takes is seen by whoever opens the run.
HIDDEN = ("settings",)


def prepare(
    node: Mapping[str, Any], memory: Mapping[str, Any], names: Names, path: str
) -> dict[str, Any]:
    """Return the node with the id of this run folder, and never with a question to the user.

    Raises:
        InnflowError: online, without a key; or where the run folder was to remember one.
    """
    for key in HIDDEN:
        check_complete(node.get(key), f"{path}.{key}")
    given = {key: value for key, value in node.items() if value is not None}
    shown = redact({key: value for key, value in given.items() if key not in HIDDEN})
    ready = {"id": uuid4().hex[:8], **names._asdict(), **memory, **given, **shown}
    for key in ("name", "group"):
        ready[key] = str(ready[key])[:LONGEST]
    if ready.pop("offline", False):
        ready["mode"] = "offline"  # Lightning's own way would bind every later run of the process
    elif ready.get("mode", "online") == "online" and not _has_key(node):
        raise InnflowError(
            f"{path}.offline=false: no W&B key is found; run `wandb login` or export "
            "WANDB_API_KEY, or leave it offline"
        )
    return ready


def begin(logger: Any, path: str) -> dict[str, Any]:
    """Start the run, or go on with it."""
    run = logger.experiment
    return {"id": run.id, "name": run.name, "group": run.group}


def configure(logger: Any, config: Mapping[str, Any], again: bool) -> None:
    """Set the config of the run, or renew it."""
    logger.log_hyperparams(dict(config))


def send(
    logger: Any,
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet],
    step: int,
    last: bool,
) -> None:
    """Log all of it in one row of the history, beside the metrics of the same step."""
    import wandb

    media: dict[str, Any] = {
        key: wandb.Image(Image.open(io.BytesIO(picture.png)), caption=picture.caption)
        for key, picture in figures.items()
    }
    for key, sheet in tables.items():
        media[key] = wandb.Table(columns=list(sheet.columns), data=[list(r) for r in sheet.rows])
    if media:
        logger.experiment.log({**media, STEP: step})


def conclude(logger: Any, metrics: Mapping[str, float], step: int) -> None:
    """Log the numbers; the last value of each stands in the summary."""
    logger.log_metrics(dict(metrics), step)


def finish(failed: bool) -> None:
    """End the run of this process, if there is one: the next job of a sweep has its own."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def _has_key(node: Mapping[str, Any]) -> bool:
    """Whether W&B finds a key without asking for one."""
    import wandb

    given = (node.get("settings") or {}).get("api_key")
    return bool(given) or wandb.login(prompt=False, verify=False)
