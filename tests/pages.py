"""Pages whose blocks run: what they hold, and how they are executed with small settings.

A block of Python is executed, all blocks of a page in one namespace; one whose first line is a
comment with the name of a file is written to that file, as is a block of YAML. A block of shell
commands is executed line by line. Everything happens in a copy of this process, in a folder with
drawn data.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from chaos.worker import COMMANDS, forget_processes, run
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from innflow.command import main as cli
from innflow.config.build import compose_config
from innflow.config.resolvers import register_resolvers

ROOT = Path(__file__).parents[1]
CONF, DOCS = ROOT / "conf", ROOT / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
HOW_TO = sorted(DOCS.glob("how-to/*.md"))
FIRST = [DOCS / "start.md", DOCS / "coming-from.md", DOCS / "explanation/partition.md"]
COMMANDS["innflow"] = cli.innflow
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/.-]+\.(?:py|yaml))\n")

NOT_RUN = {
    r"pip install|git clone|make ": "installs packages, or runs the tests that run this page",
    r"docker|apptainer|sbatch|hydra/launcher=slurm": "needs Docker, Apptainer or Slurm",
    r"trainer\.devices=|trainer\.accelerator=gpu": "needs several devices, or a GPU",
    r"s3://": "needs a bucket",
    r"wandb sync|wandb login|offline=false|tracking_uri=http": "needs an account or a server",
    r"innflow --completion": "changes the shell of the user; tests/command runs it",
    r"tensorboard --logdir|mlflow ui": "starts a server that does not end",
    r"innflow-serve|innflow-explore": "starts a server that does not end",
}
"""Shell commands that no test executes, and why; `tests/test_docs.py` composes their configs."""

SMALL = {
    "data.n": "600",
    "data.n_train": "120",
    "data.n_test": "40",
    "data.n_outliers": "12",
    "data.size": "8",
    "data.batch_size": "16",
    "model.levels": "2",
    "model.depth": "1",
    "model.hidden": "8",
    "model.forward": "[8]",
    "precision": "32",
    "analysis.scores.resamples": "50",
    "analysis.samples.components": "[2,4]",
    "analysis.samples.temperatures": "[0.7,1.0]",
    "analysis.temperature.temperatures": "[0.7,1.0]",
    "analysis.latent_cloud.samples": "20",
    "analysis.latent_cloud.components": "4",
    "analysis.density2d.resolution": "60",
    "analysis.density2d.samples": "100",
    "trainer.enable_progress_bar": "false",
}
"""Values of the keys of a command that has them and does not set them itself."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, with the line at which each begins."""
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in FENCE.finditer(text)
    ]


def reason_not_run(line: str) -> str | None:
    """Return why a shell command is not executed, None if it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


def shell_lines(code: str) -> Iterator[str]:
    """Yield the commands of a block of shell commands, continued lines joined."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield line if words[0] not in COMMANDS else shlex.join(words)


def shrink(words: Sequence[str], analyses: bool) -> list[str]:
    """Return the arguments of `innflow-train` with small sizes wherever they set none.

    Args:
        words: arguments.
        analyses: whether the analyses of the experiment are carried out if none are named.
    """
    config = [word for word in words if "=" in word and not word.startswith(("-", "hydra"))]
    if not config or "ckpt=last" in words or "--cfg" in words:
        return list(words)
    small = [] if any(word.startswith("+debug=") for word in words) else ["+debug=fdr"]
    if not analyses and not any("analysis" in word for word in words):
        small.append("analysis=none")
    own = [word for word in config if is_own(word)]
    first = [word if "[" in word else word.split(",")[0] for word in config if word not in own]
    register_resolvers()
    try:
        cfg = compose_config("train", [*first, *small])
    except HydraException:
        return list(words)  # the command ends with its own error
    named = {word.split("=")[0].lstrip("+") for word in config}
    pretrained = str(cfg.init).startswith("pretrained:")
    for key, value in SMALL.items():
        group = key.partition(".")[0]
        if pretrained and (group == "model" or key == "data.size"):
            continue  # those of the pretrained flow
        if key in named or any(word.startswith(f"{group}=") for word in own):
            continue
        if key_exists(cfg, key):
            widths = key == "model.hidden" and OmegaConf.is_list(OmegaConf.select(cfg, key))
            widths = widths and not cfg.model._target_.endswith("glow")  # there a list is of levels
            small.append(f"{key}=[{value}]" if widths else f"{key}={value}")
    return [*words, *small]


def is_own(word: str) -> bool:
    """Return whether an argument chooses an option that innflow does not have."""
    group, _, option = word.lstrip("+").partition("=")
    folder = CONF / group.partition("@")[0]
    return folder.is_dir() and not (folder / f"{option}.yaml").exists()


def key_exists(cfg: DictConfig, key: str) -> bool:
    """Return whether a config has a key."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return OmegaConf.is_dict(node) and name in node


def shorten(code: str) -> str:
    """Return Python code with two steps where it has hundreds."""
    code = re.sub(r"range\(\d[\d_]{2,}\)", "range(2)", code)
    return re.sub(r"(max_steps|max_epochs)=\d[\d_]*", r"\1=2", code)


def draw_data(folder: Path) -> None:
    """Draw what pages take as given: images in two folders, and one image."""
    rng = np.random.default_rng(0)
    sets = {"train/cat": (160, 0), "test/cat": (16, 0), "test/dog": (9, 40), "test/ball": (7, 90)}
    sets = {f"pictures/{name}": size for name, size in sets.items()}
    sets |= {
        f"animals/{half}/{kind}": (24, 40) for half in ("train", "test") for kind in ("cat", "dog")
    }
    for name, (count, dark) in sets.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            low = rng.integers(dark, dark + 120)
            pixels = rng.integers(low, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / "photo.png")


def execute(page: Path, folder: Path, analyses: bool) -> str:
    """Execute a page in a folder; return what went wrong, an empty text if nothing did."""
    log = folder / "log.txt"
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            forget_processes()
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            code = execute_here(page, folder / "here", analyses)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "" if status == 0 else log.read_text(errors="replace")[-4000:]


def execute_here(page: Path, here: Path, analyses: bool) -> int:
    """Execute the blocks of a page in this process; return an exit code."""
    here.mkdir()
    draw_data(here)
    os.chdir(here)
    os.environ |= {"INNFLOW_CACHE": str(here.parent / "cache"), "MPLBACKEND": "Agg"}
    os.environ |= {"WANDB_MODE": "offline", "HOME": str(here.parent)}
    sys.path.insert(0, str(here))
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page.read_text()):
        place = f"{page.name}:{block.line}"
        file = FILE.match(block.code)
        if file and block.language in ("python", "yaml"):
            path = here / file[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
        elif block.language == "python":
            say(f"--- {place}")
            exec(compile(shorten(block.code), place, "exec"), names)
        elif block.language == "bash":
            for line in shell_lines(block.code):
                if reason_not_run(line) is None and (code := execute_line(line, analyses)):
                    say(f"{place}: `{line}` ended with exit code {code}")
                    return 1
    return 0


def say(line: str) -> None:
    """Write a line into the log, before whatever the next process writes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def execute_line(line: str, analyses: bool) -> int:
    """Execute a shell command, one of innflow in a copy of this process; return its exit code."""
    words = shlex.split(line)
    say(f"--- {line}")
    if words[0] not in COMMANDS:
        return subprocess.run(["bash", "-c", line]).returncode
    if words[0] == "innflow-train":
        words = [words[0], *shrink(words[1:], analyses)]
    pid = os.fork()
    if pid == 0:
        try:
            forget_processes()
            os._exit(run(words))
        finally:
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
