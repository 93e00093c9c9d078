"""Entry point of a container on AWS Batch: one run, or one run of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

OUTPUTS = "outputs"


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each run of a sweep, in the order of `innflow-train -m`."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def command(overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command of this container.

    The folder of a run is outputs/<name>/<number of the run>. Batch restarts a container whose
    machine was reclaimed; the run is then resumed.

    Args:
        overrides: Overrides of the whole sweep.
        environment: Environment variables of the container, as set by AWS Batch.
    """
    runs = expand(overrides)
    number = int(environment.get("AWS_BATCH_JOB_ARRAY_INDEX", "0"))
    name = environment.get("INNFLOW_SWEEP") or environment["AWS_BATCH_JOB_ID"]
    folder = Path(OUTPUTS) / name / str(number)
    resume = ["ckpt=last"] if (folder / "checkpoints/last.ckpt").exists() else []
    return ["innflow-train", *runs[number], f"run_dir={folder}", *resume]


if __name__ == "__main__":
    line = command(sys.argv[1:], os.environ)
    os.execvp(line[0], line)
