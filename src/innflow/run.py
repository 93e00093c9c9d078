"""One run: from a config to a trained application, its numbers, its pictures and its report."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from innflow.analysis.base import Analysis, Study
from innflow.app import Application
from innflow.callback import Clock, MetricsCSV
from innflow.checkpoint import COORDINATES, SCORES, assemble, find_checkpoint, read_checkpoint
from innflow.companion import keep_companions, open_companions, start_from
from innflow.config import build, check, refusals
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.progress import announce, is_leader
from innflow.report import save_findings, write_report
from innflow.rundir import claim, write_arrays, write_json, write_origin

log = logging.getLogger(__name__)


def run(config: dict[str, Any], run_dir: Path, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Train, choose the best checkpoint, study it and write the run folder.

    What is refused before training begins leaves no folder behind.

    Args:
        config: plain dicts, the composed config with every interpolation resolved.
        run_dir: where the run goes.
        overrides: what the user typed, for the record.

    Returns:
        The metrics that also stand in metrics.json; empty on ranks other than zero.
    """
    check(config)
    check_switches(config)
    resume = config["ckpt"] is not None
    leader = is_leader()
    checkpoint = find_checkpoint(run_dir, config["ckpt"]) if resume else None
    with claim(run_dir, resume) if leader else nullcontext(), dashboards_closed():
        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        data: PartsDataModule = build(config["data"], "data")
        if data.drawn:
            announce(
                "data.root is null: training on simulated cats; data.root=DIR takes photographs"
            )
        app = assemble(config, data.shapes)
        app.companions |= open_companions(config["companions"], app)
        if config["init"] is not None and not resume:
            start_from(config["init"], app)
        analyses = build_analyses(config)
        data.prepare_data()
        data.train_dataloader()  # a batch larger than the training set is refused here
        case = make_study(app, data, config, run_dir)
        app.columns = {name: list(names) for name, names in data.columns.items()}
        app.check_data(data)
        app.check_objective(data)
        check_analyses(analyses, case)

        clock = Clock()
        trainer = make_trainer(config, run_dir, clock)
        if leader:
            write_origin(run_dir, config, overrides, str(trainer.strategy.root_device))
            keep_companions(config["companions"], run_dir)
        announce(repr(app))
        fit(trainer, app, data, checkpoint)
        if not leader:
            return {}
        best = find_checkpoint(run_dir, "best")
        app.load_state_dict(read_checkpoint(best)["state_dict"])
        metrics = study(app, case, analyses, run_dir)
        metrics |= clock.metrics()
        if hasattr(data, "state"):
            write_arrays(run_dir / COORDINATES, data.state())
        finish(run_dir, metrics, trainer.loggers)
        return metrics


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


def fit(
    trainer: pl.Trainer, app: Application, data: PartsDataModule, checkpoint: Path | None
) -> None:
    """Train, from a checkpoint where there is one.

    Raises:
        InnflowError: if the user interrupts it.
    """
    with warnings.catch_warnings():
        # A batch is one gather from memory: worker processes would only slow it down.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning's own use of older torch calls is no message to our user.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        trainer.fit(app, datamodule=data, ckpt_path=checkpoint)
    if trainer.interrupted:
        raise InnflowError(
            f"interrupted at step {trainer.global_step}; the run folder keeps what was saved, "
            "ckpt=last goes on from there"
        )


@contextmanager
def dashboards_closed() -> Iterator[None]:
    """Finish a wandb run with the job: the next job of a sweep must not go on in it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(exit_code=code)


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
        if hasattr(analysis, "check"):
            analysis.check(case)


def make_trainer(config: Mapping[str, Any], run_dir: Path, clock: Clock) -> pl.Trainer:
    """Build Lightning's trainer with the loggers and callbacks of a config, and our own two."""
    loggers = [build(node, f"logger.{name}") for name, node in (config["logger"] or {}).items()]
    if is_leader():
        loggers.insert(0, MetricsCSV(run_dir))
    for logger in loggers:
        logger.log_hyperparams(config)
    callbacks = [
        build(node, f"callbacks.{name}")
        for name, node in config["callbacks"].items()
        if node is not None
    ]
    if config["trainer"].get("enable_progress_bar") is False:
        callbacks = [each for each in callbacks if not isinstance(each, pl.callbacks.ProgressBar)]
    make = build({**config["trainer"], "_partial_": True}, "trainer")
    with refusals("trainer"):
        return make(logger=loggers, callbacks=[*callbacks, clock], default_root_dir=str(run_dir))


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
    scorer = app.scorer
    if config["score"] and (scorer is None or app.config["score"] != config["score"]):
        scorer = build(config["score"], "score")
    case = Study(app, data, data.sets(), scorer, config["seed"], limit, run_dir)
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


def finish(out: Path, metrics: Mapping[str, float], loggers: Sequence[Any] = ()) -> None:
    """Write metrics.json and the report, and send the numbers to every logger."""
    write_json(out / "metrics.json", dict(sorted(metrics.items())))
    write_report(out)
    for logger in loggers:
        if not isinstance(logger, MetricsCSV):
            logger.log_metrics(dict(metrics))
        logger.finalize("success")
