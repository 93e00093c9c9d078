"""What the commands on a trained run share: checked arguments, the run, a folder for the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from innflow.app import Application
from innflow.errors import InnflowError
from innflow.run.checkpoint import load


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check what was typed, before anything is read."""
    for name, value in arguments.items():
        if name in ("run", "input", "ckpt", "device", "y"):
            fine, takes = isinstance(value, str) and value != "", "text; a folder called 3 is ./3"
        elif name in ("out", "truth"):
            fine, takes = isinstance(value, str | None) and value != "", "a path, or null"
        elif name == "trust":
            fine, takes = isinstance(value, bool), "true or false"
        elif name == "temperature":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fine, takes = number and 0 <= value < math.inf, "a number of at least 0"
        else:
            least = 1 if name == "n" else 0
            whole = isinstance(value, int) and not isinstance(value, bool)
            fine = (name == "seed" and value is None) or (whole and least <= value < 2**32)
            takes = f"a whole number from {least} to 4294967295"
        if not fine:
            raise InnflowError(f"{name}={value}: takes {takes}")


def refuse_rest(overrides: Sequence[str]) -> None:
    """Refuse keys that a command does not have."""
    if overrides:
        raise InnflowError(f"{overrides[0].split('=')[0]} is unknown; --help shows the keys")


def load_run(arguments: Mapping[str, Any]) -> Application:
    """Load the run that the arguments name, onto the device that they name."""
    app = load(arguments["run"], arguments["ckpt"], arguments["trust"])
    device = arguments["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return app.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InnflowError(f"device={device}: {str(error).splitlines()[0]}") from None


def home(arguments: Mapping[str, Any]) -> Path:
    """Return the folder of the run; where a checkpoint is named by itself, the current one."""
    run = Path(arguments["run"])
    return run if run.is_dir() else Path.cwd()


def answer_folder(arguments: Mapping[str, Any], kind: str) -> Path:
    """Return the folder that the arguments name, or a new one in that of the run."""
    if arguments["out"] is not None:
        return Path(arguments["out"]).absolute()
    return home(arguments).absolute() / kind / time.strftime("%Y-%m-%d_%H-%M-%S")
