"""What a container of AWS Batch runs: one run, or its own of a sweep's runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

OUTPUTS = "outputs"


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every run of a sweep, in the order of `innflow-train -m`."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def command(overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command of this container.

    A run lies in outputs/<name>/<number of the run>. Batch starts a container again whose machine
    was taken away: then it goes on where its run was.

    Args:
        overrides: of the whole sweep.
        environment: of the container, as AWS Batch sets it.
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
