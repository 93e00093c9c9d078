"""Entry points of the commands: their help, their arguments and their errors.

Large packages are imported after the arguments have been read, so that `--help` and errors in the
arguments are printed at once.
"""

import difflib
import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from innflow.command import completion, overview
from innflow.command import train as training
from innflow.config.build import compose_config, to_plain
from innflow.config.message import one_line
from innflow.errors import InnflowError, Stopped
from innflow.system.allocator import keep_freed_memory
from innflow.system.explain import explain
from innflow.system.secret import redact_text, refuse_typed
from innflow.system.tree import walk

log = logging.getLogger(__name__)

PLUGINS = re.compile(r"(joblib|submitit|optuna|innflow_launcher)")
"""Plugin names in Hydra's error when an optional launcher or sweeper is missing."""


def innflow() -> None:
    """Innflow [--completion bash|zsh|fish]: list commands and experiments."""
    commands = (
        *(train, evaluate, sample, score, posterior, compare),
        *(export, serve, explore, sweep_report, new),
    )

    def command() -> None:
        if "--completion" in sys.argv[1:]:
            _write_completion(sys.argv[1:], commands)
            return
        others = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
        if others:
            raise InnflowError(f"{others[0]} is unknown; innflow alone lists the commands")
        overview.write(overview.describe(commands))

    _guard("innflow", command)


def _write_completion(typed: Sequence[str], commands: Sequence[Callable[[], None]]) -> None:
    """Print the completion script of the shell in `--completion SHELL`."""
    shell = typed[1] if len(typed) == 2 and typed[0] == "--completion" else ""
    if shell not in completion.SHELLS:
        raise InnflowError("--completion takes one of bash, zsh and fish")
    names = [(inspect.getdoc(each) or "").split()[0].rstrip(":") for each in commands]
    overview.write(completion.write_script(shell, ["innflow", *names]))


def train() -> None:
    """innflow-train +experiment=NAME: train a flow, evaluate it on test data and write a report."""

    def command() -> None:
        if len(sys.argv) == 1 or {"-h", "--help"} & set(sys.argv[1:]):
            overview.write(overview.train_help())
        else:
            training.train()

    _guard("innflow-train", command)


def evaluate() -> None:
    """innflow-eval run=DIR [data=GROUP] [data.root=DIR2] [analysis=GROUP]: test a trained run.

    Any key of the run's own config under data, analysis, score and study may be given.
    """
    _call(evaluate, "innflow-eval", "eval")


def sample() -> None:
    """innflow-sample run=DIR n=64 temperature=0.8 out=DIR2: draw from a trained run.

    Images are written as PNG files and one grid, vectors as samples.csv and samples.npz.
    """
    _call(sample, "innflow-sample", "sample")


def score() -> None:
    """innflow-score run=DIR input=FOLDER out=scores.csv: compute anomaly scores of files.

    input= is a folder, s3://bucket/prefix, an image or a table. The result has for each item: path,
    score (higher is more anomalous), p_value (the share of inliers at least as anomalous),
    p_value_min (the smallest possible, 1 / (calibration_items + 1)), then every score by name.
    Without out= it is written to stdout; out=scores.json writes a list of objects.

    threshold=0.01 adds the column flag: 1 where p_value is at most 0.01, which is at most 1 in 100
    inliers. maps=DIR writes a PNG of each picture with its anomaly map over it: the contribution of
    each pixel to -log p, which is large where the picture is improbable. calibration=FOLDER
    calibrates the p-values on other inliers than the run's test set; the flow must not have been
    trained on them.
    """
    _call(score, "innflow-score", "score")


def posterior() -> None:
    """innflow-posterior run=DIR y=obs.csv n=10000 out=DIR2: draw parameters for observed data.

    Writes posterior.csv and posterior.npz (the draws), summary.csv (mean, sd, quantiles and MAP of
    each parameter), summary.json (p-value of each observation under the simulator, and error of
    its draws in the forward model) and figures. truth=FILE marks the true parameters, if known.

    MAP is the draw of highest density p(x | y), in the units of x; where the run has the joint
    density of x and noise only, the draw with the closest neighbours in whitened coordinates. The
    forward model is run on up to 10,000 draws. It is code: one of your own needs trust=true.

    correct=true corrects the draws by importance sampling with prior and likelihood, that of
    declared noise or data.log_likelihood; summary.json has efficiency, Pareto k and log evidence,
    proposals.csv the draws of the flow with their weights. Without it, the posterior is tested at
    each observation (L-C2ST); reasons not to trust it are printed and are in summary.json.

    arviz=true also writes posterior.nc, which `arviz.from_netcdf` reads.
    """
    _call(posterior, "innflow-posterior", "posterior")


def compare() -> None:
    """innflow-compare 'runs=[DIR,DIR2]' y=obs.csv: compute which model gives observed data.

    Prints for each observation the probability of each model, with equal prior probabilities: by
    the log evidence of importance sampling where all runs have a likelihood (as innflow-posterior
    correct=true), otherwise by a classifier of the simulations in the run folders, with its
    expected calibration error. A small misspecification p of all: none of the models fits.
    """
    _call(compare, "innflow-compare", "compare")


def export() -> None:
    """innflow-export run=DIR format=onnx out=DIR2: write a run as files that need no innflow.

    Writes log_prob, sample and score, or log_prob and posterior, as ONNX files (format=torch:
    programs of torch.export), and card.json with their inputs, outputs and units. Data are in the
    units of the user, with any number of rows; random numbers are an input. Each file is compared
    with the run before it is kept: the largest error is 1e-4 of the largest value.
    """
    _call(export, "innflow-export", "export")


def serve() -> None:
    """innflow-serve run=DIR port=8000: answer requests by HTTP with a trained run.

    POST /score, /log_prob, /classify, /sample or /posterior, whichever the run has, with JSON or
    pictures; GET / lists them with what they take, and GET /health is for monitoring. Requests that
    wait for the model together are joined to one call of it.
    """
    _call(serve, "innflow-serve", "serve")


def explore() -> None:
    """innflow-explore run=DIR port=8080: look at a trained run in the browser.

    Samples by temperature and seed, directions in latent space, paths between items, and scores,
    p-values, classes and anomaly maps of dropped files; of an inverse problem the posterior at
    any y. It prints the address of the page, which only this machine reaches.
    """
    _call(explore, "innflow-explore", "explore")


def sweep_report() -> None:
    """innflow-sweep-report DIR [metric=NAME] [mode=min|max]: compare the jobs of a sweep.

    Writes DIR/sweep.csv, DIR/sweep.html and DIR/sweep.png and prints the folder of the best job.
    Without metric=, jobs are ranked by the validation metric that selected their best.ckpt.
    """
    _call(sweep_report, "innflow-sweep-report", "sweep", first="dir")


def new() -> None:
    """innflow-new NAME: write a folder with an experiment, own parts and a test, to begin with.

    It runs as it is: cd NAME, then innflow-train --config-dir conf +experiment=NAME.
    """
    _call(new, "innflow-new", "new", first="name")


def _call(entry: Callable[[], None], name: str, config: str, first: str | None = None) -> None:
    """Import innflow.command.NAME and call its function NAME, the name of `entry`.

    Args:
        entry: an entry point of this module; its docstring is the help.
        name: name of the command.
        config: name of its defaults in conf/command.
        first: key of a first argument that is given without one.
    """

    def command() -> None:
        arguments = read_arguments(config, inspect.getdoc(entry) or "", first)
        if arguments is not None:
            keep_freed_memory()
            module = import_module(f"innflow.command.{entry.__name__}")
            getattr(module, entry.__name__)(*arguments)

    _guard(name, command)


def read_arguments(
    name: str, usage: str, first: str | None = None
) -> tuple[dict[str, Any], list[str]] | None:
    """Read the `key=value` arguments of this process against a config of defaults.

    Args:
        name: name of the config in conf/command.
        usage: printed before the defaults for `--help`.
        first: key of a first argument that is given without one.

    Returns:
        The arguments, and those whose keys the defaults lack: overrides of the run's own config.
        None if the help was printed.

    Raises:
        InnflowError: if an argument is no `key=value`, or a required one is missing.
    """
    arguments = sys.argv[1:]
    bare = arguments[:1] and (Path(arguments[0]).is_dir() or not re.search("^-|=", arguments[0]))
    if first and bare:
        quoted = arguments[0].replace("'", r"\'")
        arguments[0] = f"{first}='{quoted}'"
    defaults = compose_config(f"command/{name}")["command"]
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{usage}\n\nArguments and defaults:\n{OmegaConf.to_yaml(defaults)}")
        return None
    known = set(defaults.keys())  # `key in defaults` is false for a required key
    for argument in arguments:
        if "=" not in argument:
            raise InnflowError(f"{argument}: must be key=value; --help shows the keys")
    own = [argument for argument in arguments if argument.partition("=")[0] in known]
    rest = [argument for argument in arguments if argument not in own]
    cfg = compose_config(f"command/{name}", [f"command.{argument}" for argument in own])["command"]
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        key = missing[0].removeprefix("command.")
        typed = [argument.partition("=")[0] for argument in rest]
        for close in difflib.get_close_matches(key, typed, n=1):
            raise InnflowError(f"{close} is unknown; did you mean {key}?")
        raise InnflowError(f"{key}=... is needed; --help shows the keys")
    return to_plain(cfg), rest


def _guard(name: str, command: Callable[[], None]) -> None:
    """Run a command; an error that is no bug ends it with one line on stderr and exit code 2.

    `hydra.verbose=innflow` shows the traceback of such an error too.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # otherwise Hydra prints several lines
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # its messages are also raised
    try:
        refuse_typed(sys.argv[1:])
        if sys.argv[1:] == ["--version"]:
            overview.write(f"innflow {overview.VERSION}\n")
        else:
            command()
    except Stopped as stop:
        _fail(name, stop.message, code=int(stop.code or 1))
    except KeyboardInterrupt:
        _fail(name, "interrupted", code=130)
    except Exception as error:
        line = _explain(error, sys.argv[1:])
        if line is None:
            sys.stderr.write(redact_text(traceback.format_exc()))
            sys.exit(1)
        log.debug("the error was raised here", exc_info=True)
        _fail(name, line)


def _fail(name: str, message: str, code: int = 2) -> NoReturn:
    sys.stderr.write(f"{name}: error: {redact_text(message)}\n")
    sys.exit(code)


def _explain(error: Exception, overrides: Sequence[str]) -> str | None:
    """Return an error as one line; None for a bug."""
    if isinstance(error, InnflowError):
        return one_line(error)
    # Hydra's errors for `data=null`, and for a launcher that is not installed, have no own type.
    plain = str(error).startswith(("Config group override", "Unknown plugin class"))
    if plain or isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_config(error, overrides)
    return explain(error)


def _explain_config(error: Exception, overrides: Sequence[str]) -> str:
    """Return an error of Hydra or OmegaConf as a line that names the key and the closest one."""
    message = one_line(error)
    chosen = [each for each in overrides if each.startswith(("hydra/launcher=", "hydra/sweeper="))]
    if chosen and PLUGINS.search(message) and ("Could not" in message or "Unknown" in message):
        return f"{' '.join(chosen)}: not installed; pip install 'innflow[cluster]'"
    option = re.search(
        r"Could not (?:find|load) '?([\w/]+)/(\w+)'.* options in '\1': (.+)", message
    )
    if option:
        group, name, options = option.group(1), option.group(2), option.group(3).split()
        close = difflib.get_close_matches(name, options, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        return f"{group}={name} is unknown{hint} The options are {', '.join(options)}"
    unknown = re.search(r"Could not override '([^']+)'", message)
    if unknown and unknown.group(1) in ("experiment", "debug", "extra"):
        return f"{unknown.group(1)}: is added to the config: write +{unknown.group(1)}=OPTION"
    if unknown is None or "No match in the defaults list" in message:
        return message
    key = unknown.group(1).lstrip("+~")
    if (group := key.split(".")[0]) != key and f"~{group}" in overrides:
        return f"{key}: was removed by ~{group}; take one of the two away"
    elsewhere = re.search(r"Did you mean to override (?:one of )?(\S+[^?]*)\?", message)
    if elsewhere:  # a group within another, as in subnet@model.subnet=mlp
        return f"{key} is unknown; did you mean {elsewhere.group(1)}?"
    close = difflib.get_close_matches(key, _list_keys(key, overrides), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; --cfg job shows all keys"
    return f"{key} is unknown{hint}"


def _list_keys(key: str, overrides: Sequence[str]) -> list[str]:
    """List the dotted keys of the config without the override that failed."""
    others = [o for o in overrides if "=" in o and o.split("=", 1)[0].lstrip("+~") != key]
    try:
        cfg = compose_config("train", others)
    except (HydraException, OmegaConfBaseException):
        return []
    return [path for path, _ in walk(OmegaConf.to_container(cfg, resolve=False))]
