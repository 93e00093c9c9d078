"""innflow-train: compose a config with Hydra and do one run, or a sweep of runs."""

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.config.build import CONF, VERSION_BASE, check_options, to_plain
from innflow.config.message import one_line
from innflow.config.resolvers import register_resolvers
from innflow.errors import InnflowError
from innflow.run.resume import resume_config, resumed_arguments
from innflow.system.explain import explain
from innflow.system.failed_jobs import SweepEnd, note_failure, print_failure
from innflow.system.file.atomic import write_text
from innflow.system.importing import add_current_folder
from innflow.system.progress import announce
from innflow.system.secret import Redacting, redact, redact_text, refuse_revealed
from innflow.system.slurm import job_id, leaving_on_signal

# Processes of a launcher import this module and resolve a config before they call `train`.
register_resolvers()


def train() -> None:
    """Compose the config and do one run, or the jobs of a sweep.

    Raises:
        InnflowError: if the run or a job of the sweep has failed.
    """
    fixed = sys.argv[1:]
    failures: list[Exception] = []

    def job(cfg: DictConfig) -> float | None:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        with leaving_on_signal():
            try:
                return run_job(cfg, fixed)
            except Exception as error:
                if not sweep:
                    failures.append(error)  # if raised here, Hydra would add a heading
                    return None
                reason = reason_of(error)
        # The other jobs continue. Hydra raises no more than the first error, and not all are raised
        # in this process: failures are written to files, which are read at the end of the sweep.
        settings = HydraConfig.get()
        folder, number = Path(settings.runtime.output_dir), settings.job.num
        failure = note_failure(folder, number, settings.overrides.task, "FAILED", reason)
        if job_id() is None:
            print_failure(failure, fixed)
        elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            sys.exit(1)  # otherwise other tasks wait for this one
        return None

    add_current_folder()
    check_options(fixed)
    sys.argv[1:] = resumed_arguments(fixed)
    SweepEnd.check, SweepEnd.failures = _check_start, []
    if "hydra/launcher=slurm" in fixed:
        _register_launcher()
        SweepEnd.check = _check_name  # the processes of its jobs do not run on this machine
    hydra.main(version_base=VERSION_BASE, config_path=f"pkg://{CONF}", config_name="train")(job)()
    if failures:
        raise failures[0]
    count = len(SweepEnd.failures)
    if count == 1:
        raise InnflowError(SweepEnd.failures[0]["reason"])
    if count:
        raise InnflowError(f"{count} jobs of the sweep failed, each with its line above")


def reason_of(error: Exception) -> str:
    """Return the reason for which a job of a sweep failed; print the traceback of a bug."""
    if isinstance(error, InnflowError | OmegaConfBaseException):
        return one_line(error)
    line = explain(error)
    if line is None:
        sys.stderr.write(redact_text(traceback.format_exc()))
    return line or f"{type(error).__name__}: {one_line(error)}"


def run_job(cfg: DictConfig, typed: Sequence[str] = ()) -> float | None:
    """Do one run and print its metrics and folder.

    Args:
        cfg: the composed config.
        typed: arguments of the command line, without those that a run folder stores.

    Returns:
        The value that an adaptive sweep minimises: the best one of the metric that selects
        best.ckpt; None on ranks other than zero.
    """
    settings = HydraConfig.get()
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redacting())
    in_sweep = settings.mode == RunMode.MULTIRUN
    if in_sweep:
        _redact_sweep(Path(settings.sweep.dir) / "multirun.yaml")
    check_top_level(cfg)
    if in_sweep:
        _check_sweep(cfg)
        sweep = "/".join(Path(settings.sweep.dir).parts[-2:])
        run_dir = Path(settings.runtime.output_dir).absolute()
    else:
        sweep = None
        run_dir = Path(cfg.run_dir or Path(cfg.paths.outputs) / cfg.stamp).absolute()
    cfg.run_dir = str(run_dir)  # callbacks and loggers refer to it
    overrides = list(settings.overrides.task)
    plain = _resolve(cfg, overrides, [text for text in overrides if text in typed])
    refuse_revealed(plain)

    from innflow.run.report.headline import describe_detection, table, warn_of_calibration
    from innflow.run.report.sweep_report import monitored
    from innflow.run.train import run

    metrics = run(plain, run_dir, overrides, sweep)
    if not metrics:
        return None
    warning, headline = warn_of_calibration(metrics), plain["score"].get("headline")
    detection = describe_detection(metrics, headline)
    for line in [
        *([] if warning is None else [f"warning: {warning}"]),
        *table(metrics, headline),
        *([detection] if detection else []),
        cfg.run_dir,
    ]:
        announce(line)
    return monitored(run_dir, plain)


def check_top_level(config: DictConfig) -> None:
    """Check the keys that no constructor takes, as Hydra accepts any name by `+key=value`.

    Raises:
        InnflowError: naming the key.
    """
    known = _known_keys()
    for key in map(str, config):
        if key not in known:
            close = difflib.get_close_matches(key, [*known, "experiment", "debug"], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; --cfg job shows all keys"
            raise InnflowError(f"{key} is unknown{hint}")
    for key in known:
        if key not in config:
            raise InnflowError(f"{key}: every run needs it; leave ~{key} away")
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InnflowError(f"seed={seed!r}: must be an integer from 0 to 4294967295")
    for key in ("name", "paths.outputs"):
        value = OmegaConf.select(config, key)
        if not isinstance(value, str) or not value:
            raise InnflowError(f"{key}={value!r}: must be a name, for the folder of the run")
    name = Path(config["name"])
    if name.is_absolute() or ".." in name.parts:
        raise InnflowError(
            f"name={name}: lies outside of paths.outputs; run_dir=DIR chooses another folder"
        )
    for key in ("run_dir", "ckpt"):
        if not isinstance(config[key], str | None):
            raise InnflowError(f"{key}={config[key]!r}: must be a path")
    if config["ckpt"] is not None and config["run_dir"] is None:
        raise InnflowError("ckpt: give the folder of the run to resume by run_dir=DIR")


@cache
def _known_keys() -> list[str]:
    # Cached, as composing a config takes longer than all other checks of a job.
    return [str(key) for key in hydra.compose("train")]


def _resolve(cfg: DictConfig, overrides: list[str], typed: list[str]) -> dict[str, Any]:
    """Return the plain config of a run, which for a resumed one is based on its config.yaml."""
    if cfg.ckpt is not None:
        compose = partial(hydra.compose, "train")
        return resume_config(Path(cfg.run_dir), overrides, typed, compose) | {"ckpt": cfg.ckpt}
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise InnflowError(f"{missing[0]}=... is needed; --cfg job shows every key")
    plain: dict[str, Any] = to_plain(cfg)
    return plain


def _check_start(cfg: DictConfig) -> None:
    """Check a sweep on this machine before its jobs."""
    _check_name(cfg)
    _check_processes(cfg)


def _check_name(cfg: DictConfig) -> None:
    """Refuse a secret in the name of a sweep, after which Hydra names its folder."""
    try:
        refuse_revealed({"name": cfg.name})
    except InnflowError as error:
        sys.stderr.write(f"innflow-train: error: {error}\n")
        sys.exit(2)  # as in `_check_processes`


def _check_processes(cfg: DictConfig) -> None:
    """Refuse a sweep whose jobs start processes here: each would run the whole sweep again."""
    strategy = str(cfg.trainer.strategy)
    alone = cfg.trainer.devices == 1 and cfg.trainer.num_nodes == 1
    starts = strategy.startswith(("ddp", "fsdp", "deepspeed")) and "spawn" not in strategy
    if starts and not alone and job_id() is None:
        sys.stderr.write(
            f"innflow-train: error: strategy={strategy} in a sweep on this machine: each of its "
            "processes would run the whole sweep; use strategy=ddp_spawn, or "
            "hydra/launcher=slurm\n"
        )
        sys.exit(2)  # an exception would end only this job; exit so that the sweep stops


def _check_sweep(cfg: DictConfig) -> None:
    """Check a job of a sweep."""
    _check_processes(cfg)
    if cfg.run_dir is not None:
        raise InnflowError("run_dir: is for a single run; set hydra.sweep.dir for a sweep")


def _redact_sweep(record: Path) -> None:
    """Remove the secrets of a user's own config files from Hydra's record of a sweep."""
    if not record.is_file():
        return
    config = OmegaConf.to_container(OmegaConf.load(record), resolve=False)
    shown = redact(config)
    if shown != config:
        write_text(record, OmegaConf.to_yaml(OmegaConf.create(shown)))


def _register_launcher() -> None:
    """Register our launcher with Hydra, which does not find it in an editable install."""
    with suppress(ImportError):  # without the extra `innflow[cluster]`, which Hydra reports
        from hydra_plugins.innflow_launcher import SlurmLauncher

        Plugins.instance().register(SlurmLauncher)
