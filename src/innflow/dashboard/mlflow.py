"""MLflow, on a server or in files of the run folder; figures and tables are artifacts."""

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

# The first request to a server fails after seconds; later ones keep MLflow's minutes.
FIRST_REQUEST = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
# Arguments that readers of the run can see; the address of the server keeps its password.
VISIBLE = ("experiment_name", "run_name", "tags", "prefix")


def prepare(
    node: Mapping[str, Any], earlier: Mapping[str, Any], names: Names, path: str
) -> dict[str, Any]:
    """Return the arguments of the logger, with the id of the run if it is resumed."""
    check_complete(node.get("tracking_uri"), f"{path}.tracking_uri")
    if not str(node.get("tracking_uri")).startswith("http"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow requires it
    shown = redact({key: node[key] for key in VISIBLE if node.get(key) is not None})
    tags = {"group": names.group, **shown.pop("tags", {})}
    return {**node, "run_name": names.name, **earlier, **shown, "tags": tags}


def begin(logger: Any, path: str) -> dict[str, Any]:
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
        reason = redact_text(str(error).split("\n", maxsplit=1)[0])
        uri = get_tracking_uri()  # the logger has set it
        cause = "cannot be reached" if uri.startswith("http") else "cannot be used"
        raise InnflowError(
            f"{path}.tracking_uri={redact_text(uri)}: {cause} ({_short(reason)}); start it with "
            "`mlflow server`, or leave tracking_uri out to write into the run folder"
        ) from None
    return {"run_id": logger.run_id}


def configure(logger: Any, config: Mapping[str, Any], resumed: bool) -> None:
    """Log the hyperparameters, which MLflow lets be set only once, and the config as a file."""
    if not resumed:
        logger.log_hyperparams(dict(config))
    logger.experiment.log_dict(logger.run_id, dict(config), "config.yaml")


def send(
    logger: Any,
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sheet],
    step: int,
    final: bool,
) -> None:
    """Log figures and tables as files under their keys; figures during training by step."""
    client, run = logger.experiment, logger.run_id
    for key, picture in figures.items():
        name = f"{key}.png" if final else f"{key}/{step:08d}.png"
        with Image.open(io.BytesIO(picture.png)) as image:
            client.log_image(run, image, artifact_file=name)
    for key, sheet in tables.items():
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(sheet.columns)
        writer.writerows(sheet.rows)
        client.log_text(run, text.getvalue(), f"{key}.csv")


def conclude(logger: Any, metrics: Mapping[str, float], step: int) -> None:
    """Log the final metrics."""
    logger.log_metrics(dict(metrics), step)


@contextmanager
def _short_timeout() -> Iterator[None]:
    """Fail after seconds when a server does not answer; by default MLflow retries for minutes."""
    before = {name: os.environ.get(name) for name in FIRST_REQUEST}
    os.environ.update({k: value for k, value in FIRST_REQUEST.items() if before[k] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _short(reason: str) -> str:
    return reason if len(reason) <= 160 else f"{reason[:160]} ..."
