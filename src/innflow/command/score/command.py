"""innflow-score: anomaly scores and p-values of files, by a trained run."""

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from innflow.app import Unconditional
from innflow.command.arguments import (
    BATCH,
    check_arguments,
    load_unconditional,
)
from innflow.command.score.maps import check_maps, write_maps
from innflow.config.message import one_line
from innflow.data.image.cache import name_first
from innflow.data.image.storage import read_images
from innflow.data.table.files import read_rows
from innflow.errors import InnflowError
from innflow.run.scores_csv import to_csv, write_scores
from innflow.system.progress import announce, track

log = logging.getLogger(__name__)


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
    if arguments["maps"] is not None:
        check_maps(app)
    if arguments["calibration"] is not None:
        inliers = _read_items(app, arguments, "calibration").data
        app.scorer.calibrate(_score(app, inliers, "calibrate"))
    items, names, pictures = _read_items(app, arguments, "input")
    table = {"path": np.array(names, dtype=object), **_score(app, items, "score")}
    for line in _calibration(app.scorer.calibration_items, arguments["threshold"]):
        log.warning("%s", line)
    if (threshold := arguments["threshold"]) is not None:
        flag = table["p_value"] <= threshold
        at = 1 + list(table).index("p_value")
        columns = list(table.items())
        table = dict([*columns[:at], ("flag", flag.astype(int)), *columns[at:]])
        log.warning(
            "%d of %d flagged at p_value <= %g; if all were inliers, at most %.3g were expected",
            *(flag.sum(), len(flag), threshold, threshold * len(flag)),
        )
    if arguments["maps"] is not None and pictures is not None:
        shown = zip(table["score"], table["p_value"], strict=True)
        notes = [f"score\n{score:.4g}\n\np-value\n{p:.2g}" for score, p in shown]
        write_maps(app, items, pictures, names, notes, Path(arguments["maps"]))
    if out is None:
        sys.stdout.write(to_csv(table))
        return
    try:
        write_scores(table, out)
    except OSError as error:
        raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    announce(str(out))


def _score(app: Unconditional, items: Tensor, description: str) -> dict[str, np.ndarray]:
    """Return the columns of the scores of items."""
    batches = [app.score(batch) for batch in track(items.split(BATCH), description)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _calibration(items: int, threshold: float | None) -> list[str]:
    """Return lines on the smallest p-value, and on a threshold that is below it."""
    smallest = 1 / (items + 1)
    lines = [f"p-values: calibrated on {items:,} inliers, the smallest possible is {smallest:.2g}"]
    if threshold is not None and threshold < smallest:
        lines.append(
            f"threshold={threshold:g}: no item can be flagged, which needs "
            f"{math.ceil(1 / threshold - 1):,} calibration inliers or more: calibration=FOLDER"
        )
    return lines


class Items(NamedTuple):
    """Data of the application, their names, and the pictures that they come from, if any."""

    data: Tensor
    names: list[str]
    pictures: Tensor | None


def _read_items(app: Unconditional, arguments: Mapping[str, Any], key: str) -> Items:
    """Read images, features of images, or vectors, in the format of the application."""
    source, settings = arguments[key], app.config["data"]
    if app.features is not None:
        features = app.features()
        images, names = _read_images(source, features.size, 3)
        return Items(features.embed(images), names, images)
    if len(app.shape) == 3:
        channels, size, _ = app.shape
        images, names = _read_images(source, size, channels)
        return Items(images, names, images)
    names, label = app.feature_names("x", app.dims), settings.get("label")
    x = read_rows(source, names, key, label, note=log.warning)  # stdout may hold the scores
    return Items(x, [f"{Path(source).name}/{row}" for row in range(len(x))], None)


def _read_images(source: str, size: int, channels: int) -> tuple[Tensor, list[str]]:
    """Read images, and log on stderr those that cannot be decoded: stdout may hold the table."""
    images, names, skipped = read_images(source, size, channels)
    if skipped:
        line = f"{len(skipped):,} left out, they cannot be decoded: {name_first(skipped)}"
        log.warning("%s", one_line(ValueError(line)))
    return images, names
