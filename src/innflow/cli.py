"""The commands: innflow-train, innflow-eval, innflow-sample, innflow-score, innflow-posterior.

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
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.config import (
    CONF,
    VERSION_BASE,
    compose_config,
    one_line,
    register_resolvers,
    to_plain,
)
from innflow.errors import InnflowError


def train() -> None:
    """Train, test, draw and report: `innflow-train +experiment=cats_ood`."""
    _guarded("innflow-train", _train)


def evaluate() -> None:
    """Test a trained run, on other data too: `innflow-eval run=DIR data.root=DIR2`."""
    from innflow.commands import evaluate as command

    _guarded("innflow-eval", lambda: _answer("eval", command))


def sample() -> None:
    """Draw images or vectors: `innflow-sample run=DIR n=64 temperature=0.8`."""
    from innflow.commands import sample as command

    _guarded("innflow-sample", lambda: _answer("sample", command))


def score() -> None:
    """Score files one by one: `innflow-score run=DIR input=FOLDER out=scores.csv`."""
    from innflow.commands import score as command

    _guarded("innflow-score", lambda: _answer("score", command))


def posterior() -> None:
    """Draw parameters, given observed data: `innflow-posterior run=DIR y=obs.csv n=10000`."""
    from innflow.posterior import posterior as command

    _guarded("innflow-posterior", lambda: _answer("posterior", command))


def _guarded(name: str, command: Callable[[], None]) -> None:
    """Run a command; a mistake of the user ends it with one line on stderr and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or Hydra prints its own several lines
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it raises what it logs
    register_resolvers()
    try:
        command()
    except InnflowError as error:
        _fail(name, one_line(error))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(name, _explain(error, sys.argv[1:]))
    except ValueError as error:
        if not str(error).startswith("Config group override"):  # Hydra's answer to `data=null`
            raise
        _fail(name, one_line(error))
    except KeyboardInterrupt:
        _fail(name, "interrupted", code=130)


def _fail(name: str, message: str, code: int = 2) -> NoReturn:
    sys.stderr.write(f"{name}: error: {message}\n")
    sys.exit(code)


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Turn an error of Hydra or OmegaConf into a line that says which key, and which was meant."""
    message = one_line(error)
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
    owner = os.getpid()
    failures: list[Exception] = []

    def job(cfg: DictConfig) -> None:
        try:
            _run_job(cfg)
        except (InnflowError, OmegaConfBaseException) as error:
            # In a sweep in this process the other jobs go on; a launcher's own process reports.
            if os.getpid() != owner:
                raise
            failures.append(error)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                number = HydraConfig.get().job.num
                sys.stderr.write(f"innflow-train: job {number}: {one_line(error)}\n")
        except Exception:
            # Hydra would print a heading of its own over the traceback of a bug.
            if os.getpid() != owner:
                raise
            traceback.print_exc()
            sys.exit(1)

    hydra.main(version_base=VERSION_BASE, config_path=f"pkg://{CONF}", config_name="train")(job)()
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise InnflowError(f"{len(failures)} jobs of the sweep failed, each with its line above")


def _run_job(cfg: DictConfig) -> None:
    settings = HydraConfig.get()
    _check_top_level(cfg)
    if settings.mode == RunMode.MULTIRUN:
        if cfg.run_dir is not None:
            raise InnflowError("run_dir: is chosen for a single run; a sweep has hydra.sweep.dir")
        run_dir = Path(settings.runtime.output_dir)
    else:
        run_dir = Path(cfg.run_dir or Path(cfg.paths.outputs) / cfg.stamp)
    cfg.run_dir = str(run_dir.absolute())  # callbacks and loggers refer to it
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise InnflowError(f"{missing[0]}=... is needed; --cfg job shows every key")
    plain = to_plain(cfg)

    from innflow.run import run

    metrics = run(plain, Path(cfg.run_dir), list(settings.overrides.task))
    if metrics:
        _summarize(metrics, plain["score"].get("headline"))
        sys.stdout.write(f"{cfg.run_dir}\n")
        sys.stdout.flush()


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


def _answer(name: str, command: Callable[[dict[str, Any], list[str]], None]) -> None:
    """Read `key=value` arguments against a config of defaults and call a command.

    Keys that the config lacks go to the command unread: they belong to the run's own config.
    """
    arguments = sys.argv[1:]
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
    command(to_plain(cfg), rest)
