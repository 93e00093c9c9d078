"""MLflow, on a server or in files of the run folder; figures and tables are artifacts."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

from PIL import Image

from innflow.dashboard.naming import Names
from innflow.dashboard.sink import Node, Pictures, Sheets, Sink
from innflow.errors import InnflowError
from innflow.system.secret import check_complete, redact, redact_text

# The first request times out in seconds, later ones in MLflow's default of minutes.
FIRST_REQUEST = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
# Arguments that readers of the run can see; the address of the server keeps its password.
VISIBLE = ("experiment_name", "run_name", "tags", "prefix")


class MLflow(Sink):
    """Runs on a server of MLflow, or in a folder."""

    def prepare(self, node: Node, earlier: Node, names: Names, path: str) -> dict[str, Any]:
        """Return the arguments of the logger, with the id of the run if it is resumed."""
        check_complete(node.get("tracking_uri"), f"{path}.tracking_uri")
        if not str(node.get("tracking_uri")).startswith("http"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow requires it
        shown = redact({key: node[key] for key in VISIBLE if node.get(key) is not None})
        tags = {"group": names.group, **shown.pop("tags", {})}
        return {**node, "run_name": names.name, **earlier, **shown, "tags": tags}

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Start or resume the run, and return its id.

        Raises:
            InnflowError: if the server cannot be reached, or no longer has the run.
        """
        from mlflow import get_tracking_uri
        from mlflow.exceptions import MlflowException

        try:
            with _short_timeout():
                logger.experiment.update_run(logger.run_id, status="RUNNING")
        except MlflowException as error:
            reason = shorten(redact_text(str(error).splitlines()[0]), 160, placeholder=" ...")
            uri = get_tracking_uri()  # the logger has set it
            cause = "cannot be reached" if uri.startswith("http") else "cannot be used"
            raise InnflowError(
                f"{path}.tracking_uri={redact_text(uri)}: {cause} ({reason}); start it with "
                "`mlflow server`, or leave tracking_uri out to write into the run folder"
            ) from None
        return {"run_id": logger.run_id}

    def configure(self, logger: Any, config: Node, resumed: bool) -> None:
        """Log the hyperparameters, which MLflow allows to be set once, and the config as a file."""
        if not resumed:
            logger.log_hyperparams(dict(config))
        logger.experiment.log_dict(logger.run_id, dict(config), "config.yaml")

    def send(self, logger: Any, figures: Pictures, tables: Sheets, step: int, final: bool) -> None:
        """Log figures and tables as files under their keys; figures during training by step."""
        client, run = logger.experiment, logger.run_id
        for key, picture in figures.items():
            name = f"{key}.png" if final else f"{key}/{step:08d}.png"
            with Image.open(io.BytesIO(picture.png)) as image:
                client.log_image(run, image, artifact_file=name)
        for key, sheet in tables.items():
            text = io.StringIO(newline="")
            csv.writer(text).writerows([sheet.columns, *sheet.rows])
            client.log_text(run, text.getvalue(), f"{key}.csv")


@contextmanager
def _short_timeout() -> Iterator[None]:
    """Fail after seconds when a server does not answer; by default MLflow retries for minutes."""
    added = {name: value for name, value in FIRST_REQUEST.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
