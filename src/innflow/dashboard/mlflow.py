"""MLflow: figures and tables are artifacts, of a server or of files in the run folder."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

from innflow.errors import InnflowError
from innflow.system.secret import check_complete, redact, redact_text

if TYPE_CHECKING:
    from innflow.dashboard.naming import Names
    from innflow.dashboard.sink import Picture, Sheet

# How long the first question to a server may take; later ones are patient, as MLflow is.
FIRST = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
# What is shown to whoever opens the run; the address of the server may need its password.
SHOWN = ("experiment_name", "run_name", "tags", "prefix")


def prepare(
    node: Mapping[str, Any], memory: Mapping[str, Any], names: Names, path: str
) -> dict[str, Any]:
    """Return the node with the run of this run folder, if it has begun."""
    check_complete(node.get("tracking_uri"), f"{path}.tracking_uri")
    if not str(node.get("tracking_uri")).startswith("http"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it asks for this, and no more
    shown = redact({key: node[key] for key in SHOWN if node.get(key) is not None})
    tags = {"group": names.group, **shown.pop("tags", {})}
    return {**node, "run_name": names.name, **memory, **shown, "tags": tags}


def begin(logger: Any, path: str) -> dict[str, Any]:
    """Start the run, or go on with it.

    Raises:
        InnflowError: if the server cannot be reached, or no longer has the run.
    """
    from mlflow.exceptions import MlflowException

    uri = str(logger._tracking_uri)
    try:
        with _impatient():
            logger.experiment.update_run(logger.run_id, status="RUNNING")
    except MlflowException as error:
        reason = redact_text(str(error).split("\n", maxsplit=1)[0])
        cause = "cannot be reached" if uri.startswith("http") else "cannot be used"
        raise InnflowError(
            f"{path}.tracking_uri={redact_text(uri)}: {cause} ({_short(reason)}); start it with "
            "`mlflow server`, or leave tracking_uri out to write into the run folder"
        ) from None
    return {"run_id": logger.run_id}


def configure(logger: Any, config: Mapping[str, Any], again: bool) -> None:
    """Log every hyperparameter once, since MLflow lets none change; the whole as config.yaml."""
    if not again:
        logger.log_hyperparams(dict(config))
    logger.experiment.log_dict(logger.run_id, dict(config), "config.yaml")


def send(
    logger: Any,
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet],
    step: int,
    last: bool,
) -> None:
    """Log each as a file under its key; a figure of training under the step besides."""
    client, run = logger.experiment, logger.run_id
    for key, picture in figures.items():
        name = f"{key}.png" if last else f"{key}/{step:08d}.png"
        with Image.open(io.BytesIO(picture.png)) as image:
            client.log_image(run, image, artifact_file=name)
    for key, sheet in tables.items():
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(sheet.columns)
        writer.writerows(sheet.rows)
        client.log_text(run, text.getvalue(), f"{key}.csv")


def conclude(logger: Any, metrics: Mapping[str, float], step: int) -> None:
    """Log the numbers."""
    logger.log_metrics(dict(metrics), step)


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a server after seconds: by default MLflow goes on for minutes."""
    before = {name: os.environ.get(name) for name in FIRST}
    os.environ.update({name: value for name, value in FIRST.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _short(reason: str) -> str:
    return reason if len(reason) <= 160 else f"{reason[:160]} ..."
