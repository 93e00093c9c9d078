"""The commands, from innflow-train to innflow-sweep-report.

Nothing heavy is imported before the arguments have been understood: `--help` and a typo answer
at once.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.config.build import CONF, VERSION_BASE, compose_config, to_plain
from innflow.config.message import one_line
from innflow.config.resolvers import register_resolvers
from innflow.errors import InnflowError, Stopped
from innflow.run.resume import resume_config, resumed_arguments
from innflow.system.allocator import keep_freed_memory
from innflow.system.failure import SweepEnd, note_failure, say_failure
from innflow.system.secret import Redacting, redact, redact_text, refuse_typed
from innflow.system.slurm import job_id, leaving_on_signal

# Processes of a launcher import this module and resolve a config before they call anything of it.
register_resolvers()

PLUGINS = re.compile(r"(joblib|submitit|optuna|innflow_launcher)")
"""What an error of Hydra names where a launcher or a sweeper is not installed."""


def train() -> None:
    """Train, test, draw and report: `innflow-train +experiment=cats_ood`."""
    _guarded("innflow-train", _train)


def evaluate() -> None:
    """Test a trained run, on other data too: `innflow-eval run=DIR data.root=DIR2`."""
    from innflow.command.commands import evaluate as command

    _guarded("innflow-eval", lambda: _answer("eval", command))


def sample() -> None:
    """Draw images or vectors: `innflow-sample run=DIR n=64 temperature=0.8`."""
    from innflow.command.commands import sample as command

    _guarded("innflow-sample", lambda: _answer("sample", command))


def score() -> None:
    """Score files one by one: `innflow-score run=DIR input=FOLDER out=scores.csv`."""
    from innflow.command.commands import score as command

    _guarded("innflow-score", lambda: _answer("score", command))


def posterior() -> None:
    """Draw parameters, given observed data: `innflow-posterior run=DIR y=obs.csv n=10000`."""
    from innflow.command.posterior import posterior as command

    _guarded("innflow-posterior", lambda: _answer("posterior", command))


def sweep_report() -> None:
    """Gather the jobs of a sweep: `innflow-sweep-report DIR [metric=test/bpd]`."""
    from innflow.run.sweep import report as command

    _guarded("innflow-sweep-report", lambda: _answer("sweep", command, first="dir"))


def _guarded(name: str, command: Callable[[], None]) -> None:
    """Run a command; a mistake of the user ends it with one line on stderr and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or Hydra prints its own several lines
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it raises what it logs
    try:
        refuse_typed(sys.argv[1:])
        command()
    except InnflowError as error:
        _fail(name, one_line(error))
    except Stopped as stop:
        _fail(name, stop.message, code=int(stop.code or 1))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(name, _explain(error, sys.argv[1:]))
    except (ValueError, RuntimeError) as error:
        # Hydra's answers to `data=null`, and to a launcher that is not installed
        if not str(error).startswith(("Config group override", "Unknown plugin class")):
            raise
        _fail(name, _explain(error, sys.argv[1:]))
    except KeyboardInterrupt:
        _fail(name, "interrupted", code=130)


def _fail(name: str, message: str, code: int = 2) -> NoReturn:
    sys.stderr.write(f"{name}: error: {redact_text(message)}\n")
    sys.exit(code)


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Turn an error of Hydra or OmegaConf into a line that says which key, and which was meant."""
    message = one_line(error)
    chosen = [each for each in overrides if each.startswith(("hydra/launcher=", "hydra/sweeper="))]
    if chosen and PLUGINS.search(message) and ("Could not" in message or "Unknown" in message):
        return f"{' '.join(chosen)}: not installed; pip install 'innflow[cluster]'"
    unknown = re.search(r"Could not override '([^']+)'", message)
    if unknown is None or "No match in the defaults list" in message:
        return message
    key = unknown.group(1).lstrip("+~")
    elsewhere = re.search(r"Did you mean to override (?:one of )?(\S+[^?]*)\?", message)
    if elsewhere:  # a group within another, as in subnet@model.subnet=mlp
        return f"{key} is unknown; did you mean {elsewhere.group(1)}?"
    close = difflib.get_close_matches(key, _known_keys(key, overrides), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; --cfg job shows what there is"
    return f"{key} is unknown{hint}"


def _known_keys(key: str, overrides: Sequence[str]) -> list[str]:
    """List the keys of the config without the override that failed."""
    others = [o for o in overrides if "=" in o and o.split("=", 1)[0].lstrip("+~") != key]
    try:
        cfg = compose_config("train", others)
    except (HydraException, OmegaConfBaseException):
        return []
    return list(_dotted(OmegaConf.to_container(cfg, resolve=False)))


def _dotted(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for key, value in node.items():
        path = f"{prefix}{key}"
        keys += [path, *_dotted(value, f"{path}.")]
    return keys


def _train() -> None:
    """Let Hydra compose the config and run one job, or a sweep of them."""
    fixed = sys.argv[1:]
    refusals: list[Exception] = []

    def job(cfg: DictConfig) -> float | None:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        with leaving_on_signal():
            try:
                return _run_job(cfg)
            except (InnflowError, OmegaConfBaseException) as error:
                if not sweep:
                    refusals.append(error)  # raised here, Hydra would print a heading over it
                    return None
                reason = one_line(error)
            except Exception as error:
                # Hydra would print a heading of its own over the traceback of a bug.
                sys.stderr.write(redact_text(traceback.format_exc()))
                if not sweep:
                    sys.exit(1)
                reason = f"{type(error).__name__}: {one_line(error)}"
        # The other jobs go on. Hydra raises no more than the first error, and not all is raised
        # in this process: what failed is written down, and read where the sweep ends.
        settings = HydraConfig.get()
        folder, number = Path(settings.runtime.output_dir), settings.job.num
        failure = note_failure(folder, number, settings.overrides.task, "FAILED", reason)
        if job_id() is None:
            say_failure(failure, fixed)
        elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            sys.exit(1)  # or the other tasks of the job wait for this one
        return None

    sys.argv[1:] = resumed_arguments(fixed)
    if "hydra/launcher=slurm" in fixed:
        _register_launcher()
    SweepEnd.failures = []
    hydra.main(version_base=VERSION_BASE, config_path=f"pkg://{CONF}", config_name="train")(job)()
    if refusals:
        raise refusals[0]
    if len(SweepEnd.failures) == 1:
        raise InnflowError(SweepEnd.failures[0]["reason"])
    if SweepEnd.failures:
        count = len(SweepEnd.failures)
        raise InnflowError(f"{count} jobs of the sweep failed, each with its line above")


def _register_launcher() -> None:
    """Show Hydra our launcher, which it does not find by itself in an editable install."""
    with suppress(ImportError):  # without the extra `innflow[cluster]`; Hydra will say so
        from hydra_plugins.innflow_launcher import SlurmLauncher

        Plugins.instance().register(SlurmLauncher)


def _run_job(cfg: DictConfig) -> float | None:
    """Run one job; return what an adaptive sweep minimises: the best checkpoint's value."""
    settings = HydraConfig.get()
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redacting())
    sweep = None
    if settings.mode == RunMode.MULTIRUN:
        sweep = "/".join(Path(settings.sweep.dir).parts[-2:])
        _redact_sweep(Path(settings.sweep.dir) / "multirun.yaml")
    _check_top_level(cfg)
    if settings.mode == RunMode.MULTIRUN:
        _check_launcher(cfg)
        if cfg.run_dir is not None:
            raise InnflowError("run_dir: is chosen for a single run; a sweep has hydra.sweep.dir")
        run_dir = Path(settings.runtime.output_dir)
    else:
        run_dir = Path(cfg.run_dir or Path(cfg.paths.outputs) / cfg.stamp)
    cfg.run_dir = str(run_dir.absolute())  # callbacks and loggers refer to it
    overrides = list(settings.overrides.task)
    if cfg.ckpt is not None:
        compose = partial(hydra.compose, "train")
        plain = resume_config(Path(cfg.run_dir), overrides, compose) | {"ckpt": cfg.ckpt}
    else:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise InnflowError(f"{missing[0]}=... is needed; --cfg job shows every key")
        plain = to_plain(cfg)

    from innflow.run.train import run

    metrics = run(plain, Path(cfg.run_dir), overrides, sweep)
    if not metrics:
        return None
    _summarize(metrics, plain["score"].get("headline"))
    sys.stdout.write(f"{cfg.run_dir}\n")
    sys.stdout.flush()

    from innflow.run.sweep import monitored

    return monitored(Path(cfg.run_dir), plain)


def _check_launcher(cfg: DictConfig) -> None:
    """Refuse a sweep here whose jobs start processes, each of which would run the whole sweep."""
    strategy = str(cfg.trainer.strategy)
    alone = cfg.trainer.devices == 1 and cfg.trainer.num_nodes == 1
    starts = strategy.startswith(("ddp", "fsdp", "deepspeed")) and "spawn" not in strategy
    if starts and not alone and job_id() is None:
        _fail(
            "innflow-train",
            f"strategy={strategy} in a sweep on this machine: each of its processes would run the "
            "whole sweep; takes strategy=ddp_spawn, or hydra/launcher=slurm",
        )


def _redact_sweep(record: Path) -> None:
    """Take the secrets of a user's own config files out of Hydra's record of a sweep."""
    from innflow.system.atomic import write_text

    if not record.is_file():
        return
    config = OmegaConf.to_container(OmegaConf.load(record), resolve=False)
    shown = redact(config)
    if shown != config:
        write_text(record, OmegaConf.to_yaml(OmegaConf.create(shown)))


def _check_top_level(config: DictConfig) -> None:
    """Check the keys that no constructor sees; `+key=value` lets any name through Hydra."""
    known = list(hydra.compose("train"))
    for key in map(str, config):
        if key not in known:
            close = difflib.get_close_matches(key, [*known, "experiment", "debug"], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; --cfg job shows what there is"
            raise InnflowError(f"{key} is unknown{hint}")
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InnflowError(f"seed={seed!r}: takes a whole number from 0 to 4294967295")
    for key in ("name", "paths.outputs"):
        value = OmegaConf.select(config, key)
        if not isinstance(value, str) or not value:
            raise InnflowError(f"{key}={value!r}: takes a name, for the folder of the run")
    for key in ("run_dir", "ckpt"):
        if not isinstance(config[key], str | None):
            raise InnflowError(f"{key}={config[key]!r}: takes a path")
    if config["ckpt"] is not None and config["run_dir"] is None:
        raise InnflowError("ckpt: say with run_dir=DIR which run goes on")


def _summarize(metrics: dict[str, float], headline: str | None) -> None:
    """Print the numbers that a person looks at first; metrics.json has all."""
    shown = ("test/", "bpd/", f"ood/{headline}/", "roundtrip/", "posterior/", "time/")
    names = [
        name
        for name in sorted(metrics)
        if name.startswith(shown) and not name.endswith(("_low", "_high", "/aupr", "/fpr95"))
    ]
    width = max(map(len, names))
    for name in names:
        sys.stdout.write(f"{name:<{width}}  {metrics[name]:.4f}\n")


def _answer(
    name: str, command: Callable[[dict[str, Any], list[str]], None], first: str | None = None
) -> None:
    """Read `key=value` arguments against a config of defaults and call a command.

    Keys that the config lacks go to the command unread: they belong to the run's own config.
    """
    arguments = sys.argv[1:]
    bare = arguments[:1] and (Path(arguments[0]).is_dir() or not re.search("^-|=", arguments[0]))
    if first and bare:
        quoted = arguments[0].replace("'", r"\'")
        arguments[0] = f"{first}='{quoted}'"
    cfg = compose_config(f"command/{name}")["command"]
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{command.__doc__}\n\nArguments and defaults:\n")
        sys.stdout.write(OmegaConf.to_yaml(cfg))
        return
    known = set(cfg.keys())
    own: list[str] = []
    rest: list[str] = []
    for argument in arguments:
        if "=" not in argument:
            raise InnflowError(f"{argument}: takes key=value; --help shows the keys")
        (own if argument.split("=", 1)[0] in known else rest).append(argument)
    cfg = compose_config(f"command/{name}", [f"command.{argument}" for argument in own])["command"]
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        key = missing[0].removeprefix("command.")
        raise InnflowError(f"{key}=... is needed; --help shows the keys")
    keep_freed_memory()
    command(to_plain(cfg), rest)
