"""A run: train an application, select its best checkpoint, analyse it and write the run folder."""

import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger

from innflow.analysis.data import build_data
from innflow.app import Application
from innflow.callback import Clock, MetricsCSV
from innflow.config.build import build_group
from innflow.config.message import one_line
from innflow.dashboard import dashboards_closed, open_dashboards
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.run import setup
from innflow.run.checkpoint import find_checkpoint, read_checkpoint
from innflow.run.companion import keep_companions
from innflow.run.evaluate import build_study, run_analyses, write_results
from innflow.run.features import COORDINATES
from innflow.run.folder import claim, is_requeued_run, write_origin
from innflow.run.report.headline import describe_models, suggest_features
from innflow.run.strategy import check_devices, leave_group, restored_rank, spawn, spawns
from innflow.run.trainer import UNUSED_SRUN, build_trainer, check_validation
from innflow.system.allocator import keep_freed_memory
from innflow.system.failed_jobs import FAILED
from innflow.system.file.atomic import write_arrays
from innflow.system.progress import announce, is_leader


def run(
    config: dict[str, Any], run_dir: Path, overrides: Sequence[str] = (), sweep: str | None = None
) -> dict[str, float]:
    """Train, load the best checkpoint, analyse it and write the run folder.

    Invalid settings raise an error before training and leave no folder behind.

    Args:
        config: plain dicts, the composed config with every interpolation resolved.
        run_dir: folder of the run.
        overrides: overrides of the command line, stored in the run folder.
        sweep: name of the sweep that the run is a job of, for dashboards.

    Returns:
        The metrics of metrics.json; empty on ranks other than zero.
    """
    keep_freed_memory()
    setup.check_config(config)
    config = setup.cut_short(config)
    if spawns(config):
        with setup.noting_continuation(run_dir):
            return spawn(run, config, run_dir, overrides, sweep)
    start = setup.find_start(run_dir, config["ckpt"])
    resumed = config["ckpt"] is not None or is_requeued_run(run_dir)
    leader = is_leader()
    claimed = claim(run_dir, resumed) if leader else nullcontext()
    with restored_rank(), claimed, dashboards_closed() as dashboards:
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        data = build_data(config["data"])
        if data.drawn:
            announce(
                "data.root is null: training on simulated cats; data.root=DIR uses photographs"
            )
        app = setup.build_application(config, data, start)
        analyses = build_group(config["analysis"], "analysis")

        data.prepare_data()
        # A batch larger than the training set is refused here.
        check_validation(config["trainer"], cast(Sized, data.train_dataloader()))
        app.columns = {name: list(names) for name, names in data.columns.items()}
        app.check_data(data)
        app.check_objective(data)
        study = build_study(app, data, config, run_dir, analyses)

        clock = Clock()
        trainer = build_trainer(config, run_dir, clock)
        check_devices(trainer, config["trainer"]["strategy"])
        data.trainer = trainer
        data.train_dataloader()  # refuses a batch that the ranks cannot share
        dashboards += open_dashboards(config, run_dir, overrides, sweep)
        if leader and start is None:
            setup.forget(run_dir)
        trainer.loggers = [MetricsCSV(run_dir) if leader else DummyLogger(), *dashboards]
        if leader:
            write_origin(run_dir, config, overrides, str(trainer.strategy.root_device))
            keep_companions(config["companions"], run_dir)
        announce(repr(app))
        if models := describe_models(config):
            announce(models)
        if hint := suggest_features(config):
            announce(hint)

        # Seed again: random numbers of training must not depend on earlier draws on any rank.
        pl.seed_everything(config["seed"], workers=True, verbose=False)
        with setup.noting_continuation(run_dir):
            fit(trainer, app, data, start)
        leave_group()
        if not leader:
            return {}

        if config["trainer"]["strategy"] == "fsdp":
            app = study.app = setup.copy_whole(app, config, data)
        app.load_state_dict(read_checkpoint(find_checkpoint(run_dir, "best"))["state_dict"])
        metrics = run_analyses(study, analyses, run_dir) | clock.metrics()
        if state := data.state():
            write_arrays(run_dir / COORDINATES, state)
        write_results(run_dir, metrics, dashboards, trainer.global_step)
        (run_dir / FAILED).unlink(missing_ok=True)  # of an earlier attempt, now resumed
        return metrics


def fit(
    trainer: pl.Trainer, app: Application, data: PartsDataModule, checkpoint: Path | None
) -> None:
    """Train from the beginning, or from a checkpoint; callbacks write best.ckpt and last.ckpt.

    Raises:
        InnflowError: if no step can be done from the state in the checkpoint.
        KeyboardInterrupt: on ctrl-C before the first step, or on a second one.
    """
    steps: list[int] = []
    counter = pl.callbacks.LambdaCallback(on_train_batch_end=lambda *_: steps.append(1))
    trainer.callbacks.append(counter)  # type: ignore[attr-defined]
    restored = nullcontext() if checkpoint is None else restoring(checkpoint, steps)
    with warnings.catch_warnings(), restored:
        # A batch is one gather from memory: worker processes would only slow it down.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Deprecated torch calls inside Lightning are not the user's.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module.*view tensor")
        warnings.filterwarnings("ignore", message=UNUSED_SRUN)
        try:
            trainer.fit(app, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as leaving:
            if isinstance(leaving.__context__, KeyboardInterrupt):  # Lightning exits in silence
                raise KeyboardInterrupt from None
            raise


@contextmanager
def restoring(checkpoint: Path, steps: Sequence[int]) -> Iterator[None]:
    """Turn any error before the first step of a resumed training into an `InnflowError`.

    Its state has many kinds of entries, most of which only Lightning and the callbacks know.
    """
    try:
        yield
    except (InnflowError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if steps:
            raise
        raise InnflowError(
            f"{checkpoint}: training cannot go on from its state ({type(error).__name__}: "
            f"{one_line(error)}); init={checkpoint} starts a new training from its weights"
        ) from error
