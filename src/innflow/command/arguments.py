"""Arguments of the commands on a trained run: checks, the run itself, the output folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from innflow.app import Application, Inverse, Unconditional
from innflow.config.resolvers import time_of_day
from innflow.data.table.files import read_rows
from innflow.data.table.formats import existing_table, read_header
from innflow.errors import InnflowError
from innflow.run.load import load
from innflow.system.importing import add_current_folder

BATCH = 256
"""Items in a batch of the flow."""
POSITIVE = ("n", "rows", "draws", "megabytes", "queue", "seconds")
"""Arguments that are integers of at least 1; other integers may be 0."""


def check_arguments(arguments: Mapping[str, Any], rest: Sequence[str] = ()) -> None:
    """Check the type and range of every argument, before any file is read.

    Args:
        arguments: values by name.
        rest: arguments that the command does not have.

    Raises:
        InnflowError: naming the argument and what it must be.
    """
    if rest:
        raise InnflowError(f"{rest[0].split('=')[0]} is unknown; --help shows the keys")
    for name, value in arguments.items():
        if name in ("run", "input", "ckpt", "device", "y", "host"):
            valid, expected = isinstance(value, str) and value != "", "text; write folder 3 as ./3"
        elif name == "runs":
            texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
            valid, expected = texts and len(value) > 1, "two folders or more: [DIR, DIR2]"
        elif name in ("out", "truth", "calibration", "maps"):
            valid, expected = isinstance(value, str | None) and value != "", "a path, or null"
        elif name == "format":
            valid, expected = value in ("onnx", "torch"), "onnx or torch"
        elif name in ("trust", "correct", "exact", "arviz"):
            valid, expected = isinstance(value, bool), "true or false"
        elif name == "threshold":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            valid = value is None or (number and 0 < value < 1)
            expected = "a p-value between 0 and 1, or null"
        elif name == "temperature":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            valid, expected = number and 0 <= value < math.inf, "a number of at least 0"
        else:
            least = 1 if name in POSITIVE else 0
            whole = isinstance(value, int) and not isinstance(value, bool)
            optional = name in ("seed", "proposals") and value is None
            valid = optional or (whole and least <= value < 2**32)
            expected = f"an integer from {least} to 4294967295"
        if not valid:
            raise InnflowError(f"{name}={value}: must be {expected}")


def load_run(arguments: Mapping[str, Any]) -> Application:
    """Load the run of the arguments `run`, `ckpt` and `trust` onto their `device`."""
    if arguments["trust"]:
        add_current_folder()
    app = load(arguments["run"], arguments["ckpt"], arguments["trust"])
    device = arguments["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return app.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InnflowError(f"device={device}: {str(error).splitlines()[0]}") from None


def load_inverse(arguments: Mapping[str, Any]) -> Inverse:
    """Load a run whose application has posteriors.

    Raises:
        InnflowError: if it has none.
    """
    app = load_run(arguments)
    if not isinstance(app, Inverse):
        raise InnflowError(
            f"run={arguments['run']}: has no posterior, it is a {type(app).__name__}; give a run "
            "with app=inverse"
        )
    return app


def load_unconditional(arguments: Mapping[str, Any]) -> Unconditional:
    """Load a run whose application has a density of x alone.

    Raises:
        InnflowError: if it is one of p(x | y).
    """
    app = load_run(arguments)
    if not isinstance(app, Unconditional):
        raise InnflowError(
            f"run={arguments['run']}: its density of x is conditional on data; use "
            f"innflow-posterior run={arguments['run']} y=FILE"
        )
    return app


def read_observations(app: Inverse, path: str) -> Tensor:
    """Return the observations (B, M) in a table, one a row.

    A table with the columns of one trial holds one observation of several trials, one a row.

    Raises:
        InnflowError: if a column or a value is missing, or there are too many trials.
    """
    names = app.feature_names("y", len(app.y_units.mean))
    most, size = app.y_shape if len(app.y_shape) == 2 else (1, len(names))
    trial = [name.removesuffix(" 1") for name in names[:size]]
    if trial == names[:size] or not set(trial) <= set(read_header(existing_table(path))):
        return read_rows(path, names, "y", missing=app.accepts_missing)
    rows = read_rows(path, trial, "y", missing=app.accepts_missing)
    if len(rows) > most or (len(rows) < most and not app.accepts_missing):
        raise InnflowError(f"y={path}: has {len(rows)} trials, the run was trained on {most}")
    pads = rows.new_full((most - len(rows), size), torch.nan)
    return torch.cat((rows, pads)).reshape(1, -1)


def run_folder(arguments: Mapping[str, Any]) -> Path:
    """Return the folder of the run, or the current one where `run` is a checkpoint file."""
    run = Path(arguments["run"])
    return run if run.is_dir() else Path.cwd()


def output_folder(arguments: Mapping[str, Any], kind: str) -> Path:
    """Return the folder `out`, or RUN/KIND/TIME where it is null."""
    if arguments["out"] is not None:
        return Path(arguments["out"]).absolute()
    return run_folder(arguments).absolute() / kind / time_of_day()
