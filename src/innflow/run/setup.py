"""What a run is made of before training: checks, application, trainer, loggers."""

import logging
import warnings
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from innflow.app import Application
from innflow.callback import AtomicCheckpointIO, Clock, LastCheckpoint, Requeue
from innflow.config.build import build, build_group, refusals
from innflow.config.schema import check
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.run.checkpoint import (
    CHECKPOINTS,
    assemble,
    find_checkpoint,
    load_weights,
    read_checkpoint,
)
from innflow.run.companion import open_companions, start_from
from innflow.run.folder import is_requeued_run
from innflow.run.strategy import check_strategy, environment, make_strategy
from innflow.system.secret import redact
from innflow.system.slurm import job_id

QUICK_SIZES = {"n": 2000, "n_test": 200, "n_train": 400, "n_outliers": 20}
"""Largest numbers of simulated or drawn items, by the key of the data, where study.quick=true."""
UNUSED_SRUN = ".*`srun` command is available.*"
"""Lightning's warning wherever Slurm is installed and a run is no job of it."""


def check_config(config: Mapping[str, Any]) -> None:
    """Check a whole config, and quiet Lightning's own messages.

    Raises:
        InnflowError: naming the key that is unknown, of a wrong type, or does not fit others.
    """
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    check(config)
    for name in ("compile", "reversible"):
        if not isinstance(config[name], bool):
            raise InnflowError(f"{name}={config[name]}: takes true or false")
    if config["compile"] and config["reversible"]:
        raise InnflowError(
            "compile=true with reversible=true: the compiler would keep the activations again; "
            "choose compile for speed or reversible for memory"
        )
    check_strategy(config)


def cut_short(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with at most 2,000 simulated or drawn items if the study is quick."""
    data = config["data"]
    if config["study"]["quick"] is not True:
        return config
    given = [key for key in QUICK_SIZES if isinstance(data.get(key), int)]
    return {**config, "data": {**data, **{key: min(data[key], QUICK_SIZES[key]) for key in given}}}


def find_start(run_dir: Path, ckpt: str | None) -> Path | None:
    """Return the checkpoint from which a run is resumed; None for a new run.

    A job that Slurm has started again resumes by itself, from what it has saved.
    """
    if ckpt is not None:
        return find_checkpoint(run_dir, ckpt)
    saved = is_requeued_run(run_dir) and any((run_dir / CHECKPOINTS).glob("*.ckpt"))
    return find_checkpoint(run_dir, "last") if saved else None


def build_application(
    config: dict[str, Any], data: PartsDataModule, start: Path | None
) -> Application:
    """Build the application of a config, with its companions and the weights it starts from.

    Lightning loads the checkpoint of a resumed run again, but what does not fit is refused here.
    """
    app = assemble(config, data.shapes)
    app.config = redact(config)  # it is stored in checkpoints
    app.companions |= open_companions(config["companions"], app)
    if start is not None:
        fault = f"{start}: its weights do not fit this model: leave its keys as they were"
        load_weights(app, read_checkpoint(start), fault)
    elif config["init"] is not None:
        start_from(config["init"], app)
    return app


def check_validation(trainer: Mapping[str, Any], batches: Sized) -> None:
    """Refuse validations farther apart than the batches of an epoch, where epochs are counted."""
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
            callbacks=[*callbacks, clock],
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


def copy_whole(app: Application, config: Mapping[str, Any], data: PartsDataModule) -> Application:
    """Return an untrained copy of an application whose parameters are divided over the ranks."""
    again = assemble(config, data.shapes, app.columns)
    again.config, again.companions = app.config, app.companions
    return again
