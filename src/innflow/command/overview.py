"""Help texts: the list of commands and experiments, and the help of innflow-train.

They are read from docstrings and from the comments of the configs, so that nothing is composed or
imported for them.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.resources import files

from innflow.config.build import CONF

VERSION = version("innflow")
USAGE = """\
innflow-train +experiment=NAME [KEY=VALUE ...]: train a flow, evaluate it and write a report.

  innflow-train +experiment=cats_ood                    anomaly detection, on drawn cats
  innflow-train +experiment=cats_ood data.root=DIR      on photographs
  innflow-train +experiment=moons model.depth=12 seed=1
  innflow-train -m +experiment=moons seed=1,2,3         a sweep
  innflow-train +experiment=cats_ood --cfg job          every key and its value
  innflow-train +experiment=moons +debug=fdr            two training steps and every analysis
  innflow-train run_dir=DIR ckpt=last                   resume a run

The last line on stdout is the folder of the run.
"""
GROUPS = [
    "data",
    "model",
    "subnet",
    "embedding",
    "partition",
    "latent",
    "objective",
    "score",
    "analysis",
    "optimizer",
    "schedule",
    "strategy",
    "callbacks",
    "logger",
    "extra",
    "debug",
]
KEY = re.compile(r"^([a-z_]+): +([^\s#]+) +# (.+)$")


def describe(commands: Iterable[Callable[[], None]]) -> str:
    """Return the text of `innflow`: every command and every experiment with one line.

    Args:
        commands: entry points, whose docstrings begin with usage and purpose.
    """
    purposes = []
    for command in commands:
        usage, _, purpose = (inspect.getdoc(command) or "").split("\n\n")[0].partition(": ")
        purposes.append((usage.split()[0], " ".join(purpose.split())))
    return (
        f"innflow {VERSION}: normalizing flows with PyTorch Lightning and Hydra\n\n"
        f"Commands (--help shows their arguments):\n{_table(purposes)}\n"
        f"Experiments (innflow-train +experiment=NAME):\n{_table(experiments())}\n"
        "Pages: README.md and docs/ of the repository\n"
        "Completion: innflow --completion bash, zsh or fish prints a script for the shell\n"
    )


def train_help() -> str:
    """Return the help of innflow-train: usage, experiments, keys and groups."""
    keys = [
        (f"{found[1]}={found[2]}", found[3])
        for line in read("train.yaml").splitlines()
        if (found := KEY.match(line))
    ]
    keys += [
        ("companions.general=DIR", "run on more general data, or pretrained:NAME, for ratios"),
        ("data.root=DIR", "folder of the data, for experiments on files"),
        ("trainer.max_time=00:00:15:00", "limit of the training time, days:hours:minutes:seconds"),
        ("trainer.devices=1", "number of devices; several need strategy=ddp or fsdp"),
    ]
    groups = [(group, ", ".join(options(group))) for group in GROUPS]
    return (
        f"{USAGE}\nExperiments (+experiment=NAME):\n{_table(experiments())}\n"
        f"Keys (KEY=VALUE; --cfg job shows all):\n{_table(keys)}\n"
        f"Groups (GROUP=OPTION; +extra=OPTION and +debug=OPTION):\n{_table(groups)}"
    )


def experiments() -> list[tuple[str, str]]:
    """Return name and question of every experiment, from the headers of their configs."""
    found = []
    for name in options("experiment"):
        header = read(f"experiment/{name}.yaml").partition("# Run:")[0]
        found.append((name, header.partition("# Question:")[2].replace("\n#", " ").strip()))
    return found


def write(text: str) -> None:
    """Write a help text on stdout; a reader such as `head` may close it early."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # otherwise Python reports the closed pipe at exit


def options(group: str) -> list[str]:
    """Return the options of a group of conf/."""
    found = (file.name for file in files(CONF).joinpath(group).iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def read(name: str) -> str:
    """Return the text of a file of conf/."""
    return files(CONF).joinpath(*name.split("/")).read_text(encoding="utf-8")


def _table(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "".join(f"  {name:<{width}}  {text}\n" for name, text in rows)
