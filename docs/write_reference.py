"""Write docs/reference/commands.md and configuration.md from docstrings and comments of configs.

python docs/write_reference.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from innflow.command import main
from innflow.command.overview import GROUPS, experiments

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
NOTE = "Written by `python docs/write_reference.py` from docstrings and comments of `conf/`.\n"
KEY = re.compile(r"^( *)([\w]+): *([^#]*?) *(?:# *(.+))?$", re.MULTILINE)
COMMANDS: dict[Callable[[], None], str | None] = {
    main.train: None,
    main.evaluate: "eval",
    main.sample: "sample",
    main.score: "score",
    main.posterior: "posterior",
    main.export: "export",
    main.serve: "serve",
    main.explore: "explore",
    main.sweep_report: "sweep",
    main.new: "new",
}
EXAMPLES = """\
innflow                                                      # lists commands and experiments
innflow-train +experiment=moons                              # density in the plane
innflow-train +experiment=cats_ood data.root=DIR             # photographs in a folder or s3://bucket/prefix
innflow-train +experiment=cats_ood companions.general=null   # from scratch; model=realnvp for another model
innflow-train +experiment=cats_glow trainer.max_time=00:00:15:00 seed=1
innflow-train +experiment=eight_modes                        # classification by Bayes' rule
innflow-train +experiment=inverse_kinematics                 # posteriors of a robot arm
innflow-train -m +experiment=moons seed=1,2,3                # a sweep
innflow-train +experiment=moons logger=wandb                 # or tensorboard, mlflow, many; offline by default
innflow-train +experiment=cats_ood --cfg job                 # prints every key of the config and its value
innflow-train +experiment=cats_ood +debug=fdr                # two steps of training and every analysis
innflow-train run_dir=DIR ckpt=last                          # resumes a run

innflow-eval   run=DIR data.root=DIR2                        # tests a run on other data
innflow-sample run=DIR n=64 temperature=0.8                  # images and a grid, or vectors
innflow-score  run=DIR input=FOLDER out=scores.csv           # anomaly scores of files
innflow-posterior run=DIR y=obs.csv n=10000 out=DIR2         # posterior draws for observed data
innflow-export run=DIR format=onnx out=DIR2                  # files for programs without innflow
innflow-serve run=DIR port=8000                              # answers requests by HTTP
innflow-explore run=DIR                                      # the run in the browser
innflow-sweep-report DIR                                     # compares the jobs of a sweep
innflow-new NAME                                             # a folder with own parts, to begin with
"""  # noqa: E501


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table, empty if it has no rows."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    titles = list(columns)
    lines = [titles, ["---"] * len(titles), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if cells else ""


def keys(text: str) -> list[tuple[str, str, str]]:
    """Return dotted name, default and comment of the keys of a config; those of Hydra excepted."""
    parents: list[tuple[int, str]] = []
    found = []
    for line in KEY.finditer(text):
        indent = len(line[1])
        parents = [parent for parent in parents if parent[0] < indent]
        parents.append((indent, line[2]))
        name = ".".join(name for _, name in parents).removeprefix("command.")
        if not name.startswith(("hydra", "defaults", "_")) and (name != "command" or line[3]):
            comment = (line[4] or "").replace("<", "&lt;")
            found.append((f"`{name}`", code(line[3]), comment))
    return found


def code(value: str) -> str:
    """Return a default as code; `???` is a key that has to be given."""
    return {"": "", "???": "required"}.get(value, f"`{value}`")


def header(text: str) -> str:
    """Return the first sentence of the comment at the beginning of a config."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    sentence = re.split(r"(?<=[^.][a-z0-9)])[.;] |[.:]$", " ".join(lines))[0]
    return sentence.replace("<", "&lt;")


def commands() -> str:
    """Return the page of the commands."""
    parts = [f"# Commands\n\n{NOTE}Every command has `--help`.\n\n```\n{EXAMPLES}```\n"]
    for entry, config in COMMANDS.items():
        usage, _, text = (inspect.getdoc(entry) or "").partition(": ")
        name = usage.split()[0]
        text = text[0].upper() + text[1:]
        parts.append(f"\n## {name}\n\n```\n{usage}\n```\n\n{text}\n")
        file = f"command/{config}.yaml" if config else "train.yaml"
        found = keys((CONF / file).read_text())
        parts.append("\n" + table(("key", "default", "meaning"), (row for row in found if row[2])))
        if config:
            rest = ", ".join(row[0] for row in found if not row[2])
            parts.append(f"\nAlso {rest}, as for the other commands.\n" if rest else "")
        else:
            parts.append("\nAll others are in groups: [configuration](configuration.md).\n")
    return "".join(parts)


def configuration() -> str:
    """Return the page of the config groups."""
    questions = ((f"`{name}`", question) for name, question in experiments())
    parts = [
        f"# Configuration\n\n{NOTE}",
        "`GROUP=OPTION` chooses an option, `GROUP.KEY=VALUE` sets a key, and\n",
        "`innflow-train ... --cfg job` prints all keys of a command with their values. A key\n",
        "that is misspelt, has the wrong type or a value out of range stops the command before\n",
        "data are read. The files are in [conf](../../conf/train.yaml); options of your own:\n",
        "[own parts](../own-parts.md).\n",
        "\n## experiment\n\n`+experiment=NAME` sets all groups for a study.\n\n",
        table(("option", "question"), questions),
    ]
    for group in [*GROUPS, "app", "trainer", "hydra/launcher", "hydra/sweeper"]:
        files = sorted((CONF / group).glob("*.yaml"))
        texts = {file.stem: file.read_text() for file in files}
        bases = sorted((CONF / group / "base").glob("*.yaml"))
        rows = [(f"`{name}`", header(text)) for name, text in texts.items()]
        plus = " (with `+`)" if group in ("extra", "debug") else ""
        parts.append(f"\n## {group}{plus}\n\n{table(('option', 'content'), rows)}")
        found: dict[tuple[str, str, str], list[str]] = {}
        for name, text in [*texts.items(), *((file.stem, file.read_text()) for file in bases)]:
            for key in keys(text):
                if key[2]:
                    found.setdefault(key, []).append(name)
        listed = [(*key[:2], ", ".join(names), key[2]) for key, names in found.items()]
        if listed:
            parts.append("\n" + table(("key", "default", "in", "meaning"), listed))
    return "".join(parts)


def write(folder: Path) -> None:
    """Write both pages into a folder."""
    (folder / "commands.md").write_text(commands())
    (folder / "configuration.md").write_text(configuration())


if __name__ == "__main__":
    write(ROOT / "docs/reference")
