"""innflow-score: anomaly scores and p-values of files, by a trained run."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from innflow.analysis.data import build_data, trusted_data
from innflow.app import Application
from innflow.command.arguments import (
    BATCH,
    check_arguments,
    load_unconditional,
    restore_coordinates,
)
from innflow.config.message import one_line
from innflow.data.image.cache import name_first
from innflow.data.image.storage import read_images
from innflow.data.table.files import read_rows
from innflow.errors import InnflowError
from innflow.run.load import COORDINATES
from innflow.run.scores_csv import to_csv, write_scores
from innflow.system.progress import announce, track

log = logging.getLogger(__name__)

EMBEDDINGS = "innflow.data.Embeddings"


def score(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Score images or vectors and write one row for each, to a file or to stdout."""
    check_arguments(arguments, overrides)
    out = None if arguments["out"] is None else Path(arguments["out"])
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InnflowError(f"out={out}: must be a file in a folder that exists")
    app = load_unconditional(arguments)
    if app.scorer is None:
        raise InnflowError(
            f"run={arguments['run']}: has no fitted scores; give the folder of a finished run"
        )
    items, names = _read_items(app, arguments)
    batches = [app.score(batch) for batch in track(items.split(BATCH), "score")]
    table = {"path": np.array(names, dtype=object)}
    table |= {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    if out is None:
        sys.stdout.write(to_csv(table))
        return
    try:
        write_scores(table, out)
    except OSError as error:
        raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    announce(str(out))


def _read_items(app: Application, arguments: Mapping[str, Any]) -> tuple[Tensor, list[str]]:
    """Read images, features of images, or vectors, in the format of the application."""
    source, settings = arguments["input"], app.config["data"]
    if settings.get("_target_") == EMBEDDINGS:
        # The network embeds the given images; those of the run are not read.
        unread = {"root": None, "inliers": None, "labels": False}
        node = trusted_data({**settings, **unread}, app, arguments["run"], arguments["trust"])
        data: Any = build_data(node)  # features, which embed
        if not restore_coordinates(data, arguments):
            raise InnflowError(
                f"run={arguments['run']}: has no {COORDINATES}, the coordinates of its features; "
                "give the folder of a finished run"
            )
        images, names = _read_images(source, settings["size"], 3)
        return data.embed(images), names
    if len(app.shape) == 3:
        channels, size, _ = app.shape
        return _read_images(source, size, channels)
    names, label = app.feature_names("x", app.dims), settings.get("label")
    x = read_rows(source, names, "input", label, note=log.warning)  # stdout may hold the scores
    return x, [f"{Path(source).name}/{row}" for row in range(len(x))]


def _read_images(source: str, size: int, channels: int) -> tuple[Tensor, list[str]]:
    """Read images, and log on stderr those that cannot be decoded: stdout may hold the table."""
    images, names, skipped = read_images(source, size, channels)
    if skipped:
        line = f"{len(skipped):,} left out, they cannot be decoded: {name_first(skipped)}"
        log.warning("%s", one_line(ValueError(line)))
    return images, names
