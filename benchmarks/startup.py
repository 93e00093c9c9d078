"""Seconds until `--help` is printed and until the first training step, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from benchmarks.table import Table
from benchmarks.timing import interleave, spread
from innflow.errors import InnflowError

ROOT = Path(__file__).resolve().parent.parent
DONE = 77
"""Exit code of a process that ends after its first training step."""


class FirstStep(pl.Callback):
    """End the process after the first training step, with an exit code of its own."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End at once, so that the shutdown of the process is not measured."""
        os._exit(DONE)


def run(command: Sequence[str], code: int, threads: int) -> None:
    """Run a command of innflow in an empty folder.

    Raises:
        InnflowError: if it ends with another exit code.
    """
    program = Path(sys.executable).with_name(command[0])
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(program), *command[1:]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != code:
        last = (done.stderr.strip() or "nothing on stderr").splitlines()[-1]
        raise InnflowError(f"{' '.join(command)}: exit code {done.returncode}: {last}")


HELP = ("innflow-train", "--help")
MOONS = (
    *("innflow-train", "+experiment=moons"),
    f"+callbacks.first_step._target_={FirstStep.__module__}.{FirstStep.__name__}",
)


def startup(rounds: int, threads: int) -> Table:
    """Time both commands in separate processes; warm-up rounds fill the cache of the disk."""
    calls = {
        "`innflow-train --help`": partial(run, HELP, 0, threads),
        "`innflow-train +experiment=moons` to its first training step": partial(
            run, MOONS, DONE, threads
        ),
    }
    times = interleave(calls, rounds, least=0.0)
    return Table(
        "Start-up",
        "Wall-clock seconds of whole processes.",
        ["", "seconds"],
        [[name, spread(seconds)] for name, seconds in times.items()],
    )
