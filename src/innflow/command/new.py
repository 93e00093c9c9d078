"""innflow-new: a folder with an experiment and parts of one's own, to begin with."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from innflow.errors import InnflowError
from innflow.system.progress import announce

STARTER = "innflow.starter"
"""Package whose files are copied; in the repository it is examples/own_parts."""
EXPERIMENT = "spiral"
"""Name of its experiment."""
SUFFIXES = (".md", ".py", ".yaml")


def new(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Write the folder, complete or not at all."""
    if overrides:
        raise InnflowError(f"{overrides[0].split('=')[0]} is unknown; --help shows the keys")
    folder = Path(str(arguments["name"]))
    name = folder.name
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise InnflowError(
            f"{arguments['name']}: must be letters, digits and _, and begin with a letter"
        )
    if folder.exists() or folder.is_symlink():
        raise InnflowError(f"{folder}: exists already; choose another name")
    try:
        with TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
            made = Path(partial, name)
            _copy(made, name)
            made.rename(folder)
    except OSError as error:
        raise InnflowError(f"{folder}: cannot be written ({error.strerror})") from None
    announce(f"cd {folder}")
    announce(f"innflow-train --config-dir conf +experiment={name}")
    announce(str(folder.absolute()))


def _copy(made: Path, name: str) -> None:
    """Write the files of the starter, their experiment renamed, into a new folder."""
    with as_file(files(STARTER)) as starter:
        for source in sorted(starter.rglob("*")):
            if source.suffix not in SUFFIXES or source.name == "__init__.py":
                continue
            at = source.relative_to(starter)
            text = source.read_text(encoding="utf-8")
            text = text.replace(f"experiment={EXPERIMENT}", f"experiment={name}")
            text = text.replace(f"experiment/{EXPERIMENT}.yaml", f"experiment/{name}.yaml")
            if at == Path("conf/experiment", f"{EXPERIMENT}.yaml"):
                at = at.with_stem(name)
                text = text.replace(f"name: {EXPERIMENT}", f"name: {name}")
            (made / at).parent.mkdir(parents=True, exist_ok=True)
            (made / at).write_text(text, encoding="utf-8")
