"""Lightning's trainer and the callbacks of a run."""

import warnings
from collections.abc import Mapping, Sized
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from innflow.callback import AtomicCheckpointIO, Clock, LastCheckpoint, RankWatch, Requeue
from innflow.config.build import build, build_group, refusals
from innflow.errors import InnflowError
from innflow.run.setup import continuation
from innflow.run.strategy import environment, make_strategy
from innflow.system.slurm import job_id

UNUSED_SRUN = ".*`srun` command is available.*"
"""Lightning's warning outside a Slurm job on a machine that has Slurm."""


def check_validation(trainer: Mapping[str, Any], batches: Sized) -> None:
    """Refuse a `val_check_interval` longer than an epoch, unless it counts across epochs."""
    every, epochs = trainer["val_check_interval"], trainer["check_val_every_n_epoch"]
    if epochs is not None and isinstance(every, int) and every > len(batches):
        raise InnflowError(
            f"trainer.val_check_interval={every} is more than the {len(batches)} batches of an "
            "epoch; lower it, or count across epochs with trainer.check_val_every_n_epoch=null"
        )


def build_trainer(config: Mapping[str, Any], run_dir: Path, clock: Clock) -> pl.Trainer:
    """Build Lightning's trainer with the callbacks of a config, a clock and atomic checkpoints."""
    make = build({**config["trainer"], "_partial_": True}, "trainer")
    callbacks = build_callbacks(config)
    with refusals("trainer"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=UNUSED_SRUN)
        return make(
            logger=False,
            callbacks=[*callbacks, clock, RankWatch(partial(continuation, run_dir))],
            strategy=make_strategy(config["trainer"]["strategy"]),
            use_distributed_sampler=False,  # the data module gives each rank its items
            plugins=[AtomicCheckpointIO(), *environment(config["trainer"]["strategy"])],
            default_root_dir=str(run_dir),
        )


def build_callbacks(config: Mapping[str, Any]) -> list[pl.Callback]:
    """Build the callbacks of a config; one set to null is left out."""
    callbacks = list(build_group(config["callbacks"], "callbacks").values())
    if config["trainer"].get("enable_progress_bar") is False:
        callbacks = [each for each in callbacks if not isinstance(each, pl.callbacks.ProgressBar)]
    if job_id() is None:
        return callbacks
    return [
        Requeue(str(each.path.parent), each.minutes) if type(each) is LastCheckpoint else each
        for each in callbacks
    ]
