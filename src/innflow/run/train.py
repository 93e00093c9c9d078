"""One run: from a config to a trained application, its numbers, its pictures and its report."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger

from innflow.analysis.study import Analysis, Study
from innflow.app import Application
from innflow.callback import AtomicCheckpointIO, Clock, LastCheckpoint, MetricsCSV, Requeue
from innflow.config.build import build, refusals
from innflow.config.schema import check
from innflow.dashboard import dashboards_closed, open_dashboards, publish
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.run.checkpoint import (
    CHECKPOINTS,
    COORDINATES,
    SCORES,
    assemble,
    find_checkpoint,
    load_weights,
    read_checkpoint,
)
from innflow.run.companion import keep_companions, open_companions, start_from
from innflow.run.folder import began_here, claim, write_origin
from innflow.run.report import save_findings, write_report
from innflow.run.strategy import (
    check_devices,
    check_strategy,
    environment,
    leave_group,
    make_strategy,
    spawn,
    spawns,
)
from innflow.system.allocator import keep_freed_memory
from innflow.system.atomic import write_arrays, write_json
from innflow.system.failure import FAILED
from innflow.system.progress import announce, is_leader
from innflow.system.secret import redact
from innflow.system.slurm import job_id

log = logging.getLogger(__name__)

QUICK_SIZES = {"n": 2000, "n_test": 200, "n_train": 400, "n_outliers": 20}
"""Largest numbers of simulated or drawn items, by the key of the data, where study.quick=true."""

UNUSED_SRUN = ".*`srun` command is available.*"
"""What Lightning says wherever Slurm is installed and a run is no job of it."""


def run(
    config: dict[str, Any],
    run_dir: Path,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
) -> dict[str, float]:
    """Train, choose the best checkpoint, study it and write the run folder.

    What is refused before training begins leaves no folder behind.

    Args:
        config: plain dicts, the composed config with every interpolation resolved.
        run_dir: where the run goes.
        overrides: what the user typed, for the record.
        sweep: name of the sweep that the run is a job of, for dashboards.

    Returns:
        The metrics that also stand in metrics.json; empty on ranks other than zero.
    """
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    keep_freed_memory()
    check(config)
    check_switches(config)
    check_strategy(config)
    config = cut_short(config)
    if spawns(config):
        return spawn(run, config, run_dir, overrides, sweep)
    checkpoint = find_beginning(run_dir, config["ckpt"])
    resume = checkpoint is not None or began_here(run_dir)
    leader = is_leader()
    with claim(run_dir, resume) if leader else nullcontext(), dashboards_closed() as dashboards:
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        data: PartsDataModule = build(config["data"], "data")
        if data.drawn:
            announce(
                "data.root is null: training on simulated cats; data.root=DIR takes photographs"
            )
        app = assemble(config, data.shapes)
        app.config = redact(config)  # it goes into checkpoints
        app.companions |= open_companions(config["companions"], app)
        if checkpoint is not None:
            load_weights(app, checkpoint)  # what does not fit is refused before anything is done
        elif config["init"] is not None:
            start_from(config["init"], app)
        analyses = build_analyses(config)
        data.prepare_data()
        # A batch larger than the training set is refused here.
        check_validation(config["trainer"], cast(Sized, data.train_dataloader()))
        case = make_study(app, data, config, run_dir)
        app.columns = {name: list(names) for name, names in data.columns.items()}
        app.check_data(data)
        app.check_objective(data)
        check_analyses(analyses, case)

        clock = Clock()
        trainer = make_trainer(config, run_dir, clock)
        check_devices(trainer, config["trainer"]["strategy"])
        data.trainer = trainer
        data.train_dataloader()  # and here one that its ranks cannot share
        dashboards += open_dashboards(config, run_dir, overrides, sweep)
        trainer.loggers = [MetricsCSV(run_dir) if leader else DummyLogger(), *dashboards]
        if leader:
            write_origin(run_dir, config, overrides, str(trainer.strategy.root_device))
            keep_companions(config["companions"], run_dir)
        announce(repr(app))
        # Random numbers of training do not depend on what was drawn before, on any rank.
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        fit(trainer, app, data, checkpoint)
        leave_group()
        if not leader:
            return {}
        if config["trainer"]["strategy"] == "fsdp":
            app = whole(app, config, data)
            case.app = app
        best = find_checkpoint(run_dir, "best")
        app.load_state_dict(read_checkpoint(best)["state_dict"])
        metrics = study(app, case, analyses, run_dir)
        metrics |= clock.metrics()
        if hasattr(data, "state"):
            write_arrays(run_dir / COORDINATES, data.state())
        finish(run_dir, metrics, dashboards, trainer.global_step)
        (run_dir / FAILED).unlink(missing_ok=True)  # it has failed before, and gone on
        return metrics


def cut_short(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config whose data have at most 2,000 simulated or drawn items for a quick study."""
    if not config["study"]["quick"]:
        return config
    data = {
        key: min(value, QUICK_SIZES[key])
        if isinstance(value, int) and key in QUICK_SIZES
        else value
        for key, value in config["data"].items()
    }
    return {**config, "data": data}


def whole(app: Application, config: Mapping[str, Any], data: PartsDataModule) -> Application:
    """Return an application like one whose parameters are divided, with all of them here."""
    again = assemble(config, data.shapes, app.columns)
    again.config, again.companions = app.config, app.companions
    return again


def find_beginning(run_dir: Path, ckpt: str | None) -> Path | None:
    """Return the checkpoint from which a run goes on, None for one that begins.

    A job that Slurm has started again goes on by itself, from whatever it has saved.
    """
    if ckpt is not None:
        return find_checkpoint(run_dir, ckpt)
    saved = began_here(run_dir) and any((run_dir / CHECKPOINTS).glob("*.ckpt"))
    return find_checkpoint(run_dir, "last") if saved else None


def check_switches(config: Mapping[str, Any]) -> None:
    """Raise unless the ways to train faster or smaller fit together."""
    for name in ("compile", "reversible"):
        if not isinstance(config[name], bool):
            raise InnflowError(f"{name}={config[name]}: takes true or false")
    if config["compile"] and config["reversible"]:
        raise InnflowError(
            "compile=true with reversible=true: the compiler would keep the activations again; "
            "choose compile for speed or reversible for memory"
        )


def check_validation(trainer: Mapping[str, Any], batches: Sized) -> None:
    """Raise if validations are so many batches apart that an epoch, which counts them, has none."""
    every, epochs = trainer["val_check_interval"], trainer["check_val_every_n_epoch"]
    if epochs is not None and isinstance(every, int) and every > len(batches):
        raise InnflowError(
            f"trainer.val_check_interval={every} is more than the {len(batches)} batches of an "
            "epoch; lower it, or count across epochs with trainer.check_val_every_n_epoch=null"
        )


def fit(
    trainer: pl.Trainer, app: Application, data: PartsDataModule, checkpoint: Path | None
) -> None:
    """Train, from a checkpoint where there is one."""
    with warnings.catch_warnings():
        # A batch is one gather from memory: worker processes would only slow it down.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning's own use of older torch calls is no message to our user.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module.*view tensor")
        warnings.filterwarnings("ignore", message=UNUSED_SRUN)
        trainer.fit(app, datamodule=data, ckpt_path=checkpoint)


def build_analyses(config: Mapping[str, Any]) -> dict[str, Analysis]:
    """Build the analyses that a config names; one set to null is left out."""
    return {
        name: build(node, f"analysis.{name}")
        for name, node in config["analysis"].items()
        if node is not None
    }


def check_analyses(analyses: Mapping[str, Analysis], case: Study) -> None:
    """Let every analysis that asks something of the data refuse them before training."""
    for analysis in analyses.values():
        analysis.check(case)


def make_trainer(config: Mapping[str, Any], run_dir: Path, clock: Clock) -> pl.Trainer:
    """Build Lightning's trainer with the callbacks of a config and our own clock."""
    callbacks = [
        build(node, f"callbacks.{name}")
        for name, node in config["callbacks"].items()
        if node is not None
    ]
    if config["trainer"].get("enable_progress_bar") is False:
        callbacks = [each for each in callbacks if not isinstance(each, pl.callbacks.ProgressBar)]
    if job_id() is not None:
        callbacks = [
            Requeue(str(each.path.parent), each.minutes) if type(each) is LastCheckpoint else each
            for each in callbacks
        ]
    callbacks.append(clock)
    make = build({**config["trainer"], "_partial_": True}, "trainer")
    with refusals("trainer"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=UNUSED_SRUN)
        return make(
            logger=False,
            callbacks=callbacks,
            strategy=make_strategy(config["trainer"]["strategy"]),
            use_distributed_sampler=False,  # the data know which items are whose
            plugins=[AtomicCheckpointIO(), *environment(config["trainer"]["strategy"])],
            default_root_dir=str(run_dir),
        )


def make_study(
    app: Application, data: PartsDataModule, config: Mapping[str, Any], run_dir: Path
) -> Study:
    """Bring together what analyses look at; the application may still be untrained.

    Scores that a finished run has fitted are kept: on other data, strange means unlike what the
    run was trained on.

    Raises:
        InnflowError: if the scores or the sets could not be studied later.
    """
    limit = config["study"]["train_limit"]
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 2:
        raise InnflowError(f"study.train_limit={limit}: takes a whole number of at least 2")
    if not isinstance(config["study"]["quick"], bool):
        raise InnflowError(f"study.quick={config['study']['quick']}: takes true or false")
    scorer = app.scorer
    if config["score"] and (scorer is None or app.config["score"] != config["score"]):
        scorer = build(config["score"], "score")
    case = Study(
        app, data, data.sets(), scorer, config["seed"], limit, run_dir, config["study"]["quick"]
    )
    if scorer is not None:
        _ = case.calibration_index
        scorer.check(app.companions)
    return case


def study(
    app: Application, case: Study, analyses: Mapping[str, Analysis], out: Path
) -> dict[str, float]:
    """Apply every analysis to a trained application; write what they find into a folder.

    The application gets the fitted scorer.
    """
    started = time.monotonic()
    if case.scorer is not None:
        if not case.scorer.fitted:
            case.fit_scorer()
        app.scorer = case.scorer
        case.scorer.save(out / SCORES)
    findings = {}
    for name, analysis in analyses.items():
        log.info("analysis %s", name)
        findings[name] = analysis(case)
    metrics = save_findings(findings, out)
    return metrics | {"time/study_seconds": time.monotonic() - started}


def finish(
    out: Path, metrics: Mapping[str, float], dashboards: Sequence[Logger] = (), step: int = 0
) -> None:
    """Write metrics.json and the report, and send all of it to the dashboards."""
    write_json(out / "metrics.json", dict(sorted(metrics.items())))
    write_report(out)
    publish(out, metrics, dashboards, step)
