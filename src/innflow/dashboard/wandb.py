"""Weights & Biases, offline by default; one run per run folder, resumed or not."""

import io
from typing import Any
from uuid import uuid4

from PIL import Image

from innflow.dashboard.naming import Names
from innflow.dashboard.sink import Node, Pictures, Sheets, Sink
from innflow.errors import InnflowError
from innflow.system.secret import check_complete, redact

LONGEST = 128
"""Characters of a name or a group that W&B accepts."""
STEP = "trainer/global_step"
# Arguments whose secrets are kept; all others are shown to readers of the run.
HIDDEN = ("settings",)


class Wandb(Sink):
    """Runs on the server of W&B, or in files that `wandb sync` uploads."""

    def prepare(self, node: Node, earlier: Node, names: Names, path: str) -> dict[str, Any]:
        """Return the arguments of the logger, with the id of the run; W&B never prompts for a key.

        Raises:
            InnflowError: if a key is missing online, or was removed from the stored config.
        """
        for key in HIDDEN:
            check_complete(node.get(key), f"{path}.{key}")
        given = {key: value for key, value in node.items() if value is not None}
        shown = redact({key: value for key, value in given.items() if key not in HIDDEN})
        ready = {"id": uuid4().hex[:8], **names._asdict(), **earlier, **given, **shown}
        for key in ("name", "group"):
            ready[key] = str(ready[key])[:LONGEST]
        if ready.pop("offline", False):
            ready["mode"] = "offline"  # `offline` would set it for all runs of the process
        elif ready.get("mode", "online") == "online" and not _has_key(node):
            raise InnflowError(
                f"{path}.offline=false: no W&B key is found; run `wandb login` or export "
                "WANDB_API_KEY, or leave it offline"
            )
        return ready

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Start or resume the run, and return its id, name and group."""
        run = logger.experiment
        return {"id": run.id, "name": run.name, "group": run.group}

    def send(self, logger: Any, figures: Pictures, tables: Sheets, step: int, final: bool) -> None:
        """Log all figures and tables in one row of the history, under the step of training."""
        import wandb

        media: dict[str, Any] = {
            key: wandb.Image(Image.open(io.BytesIO(picture.png)), caption=picture.caption)
            for key, picture in figures.items()
        }
        for key, sheet in tables.items():
            media[key] = wandb.Table(list(sheet.columns), data=[list(row) for row in sheet.rows])
        if media:
            logger.experiment.log({**media, STEP: step})


def finish(failed: bool) -> None:
    """Finish the run of this process, so that the next job of a sweep starts its own."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def _has_key(node: Node) -> bool:
    """Return whether W&B finds a key without a prompt."""
    import wandb

    given = (node.get("settings") or {}).get("api_key")
    return bool(given) or wandb.login(prompt=False, verify=False)
