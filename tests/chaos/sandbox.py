"""A folder for a case, and what must hold of it after a command."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from chaos.settings import SECONDS
from chaos.worker import Answer, Worker

ENVIRONMENT = {"INNFLOW_CACHE": "cache", "HOME": "home", "TMPDIR": "tmp"}
WORKED, REFUSED = "worked", "refused"


class Short(Exception):
    """A case that neither works nor is refused as promised."""


def require(holds: object, reason: str) -> None:
    """Fail a case unless something holds."""
    if not holds:
        raise Short(reason)


class Sandbox:
    """A home, a cache, a folder for temporary files and the working directory of one command."""

    def __init__(self, root: Path, worker: Worker) -> None:
        self.root, self.worker = root, worker
        self.here = root / "here"
        self.mark = self.here / "exploded"
        for name in ("home", "tmp", "here"):
            (root / name).mkdir(parents=True)

    def call(
        self,
        *argv: str,
        may_write: Sequence[str] = (),
        right: Callable[[Answer], None] | None = None,
    ) -> str:
        """Do a command and return whether it worked or was refused, if all promises were kept.

        Args:
            argv: name of the command and its arguments.
            may_write: paths relative to the working directory that it may make or change.
            right: raises `Short` if the results of a command that worked are wrong.
        """
        before, system = self.snapshot(), surroundings()
        env = {name: str(self.root / folder) for name, folder in ENVIRONMENT.items()}
        answer = self.worker.call(argv, self.here, env)
        after = self.snapshot()
        require(answer.code is not None, f"ran longer than {SECONDS} s")
        assert answer.code is not None
        require(answer.code >= 0, f"died of signal {-answer.code}")
        require(not answer.children, f"left the processes {answer.children}")
        require(not self.mark.exists(), "ran code")
        require(surroundings() == system, "made a file outside its folders")
        changed = {path for path in {**before, **after} if before.get(path) != after.get(path)}
        allowed = tuple(os.path.normpath(f"here/{path}") for path in may_write)
        for path in sorted(changed):
            inside = path == "cache" or path.startswith(("cache/", "home/.cache/", "tmp/"))
            within = any(path == root or path.startswith(f"{root}/") for root in allowed)
            require(inside or within or path.startswith("home/.c"), f"made or changed {path}")
            require(not path.startswith("tmp/"), f"left the temporary file {path}")
            if path in after and after[path][0]:
                check_whole(self.root / path)
        if answer.code == 0:
            if right is not None:
                right(answer)
            return WORKED
        check_refusal(answer)
        return REFUSED

    def snapshot(self) -> dict[str, tuple[bool, int, int]]:
        """Return what lies in the sandbox: path -> is it a file, its size and time."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                state = os.lstat(path)
                file = name in files
                kept = (state.st_size, state.st_mtime_ns) if file else (0, 0)
                found[os.path.relpath(path, self.root)] = (file, *kept)
        return found


@contextmanager
def sandbox(root: Path, worker: Worker) -> Iterator[Sandbox]:
    """Make the folders of a case, and remove them."""
    shutil.rmtree(root, ignore_errors=True)
    try:
        yield Sandbox(root, worker)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def surroundings() -> list[str]:
    """Return the names in folders in which no command may make anything."""
    folders = (Path("/"), Path(__file__).parents[2])
    return sorted(str(p) for folder in folders for p in folder.iterdir() if p.name[0] != ".")


def check_refusal(answer: Answer) -> None:
    """Check that a command that did not work says so in one line."""
    require("Traceback" not in answer.err, f"a traceback: {last(answer.err)}")
    lines = answer.err.splitlines()
    require(lines, f"exit code {answer.code} without a message")
    require(": error: " in lines[-1], f"no line of an error: {lines[-1]}")
    require(len(lines) == 1, f"{len(lines)} lines: {lines[0]} ... {lines[-1]}")
    require(lines[-1].isprintable(), f"unprintable characters: {lines[-1]!r}")
    require(len(lines[-1]) < 2000, f"a line of {len(lines[-1])} characters: {lines[-1][:200]}")


def last(text: str) -> str:
    """Return the last line of a text and, for a traceback, the place in innflow it names last."""
    lines = text.strip().splitlines()
    places = [line.strip() for line in lines if line.strip().startswith("File ")]
    own = [line for line in places if "/innflow/" in line]
    return f"{lines[-1] if lines else ''} ({(own or places or [''])[-1].replace(os.getcwd(), '')})"


def read_csv(path: Path) -> None:
    """Read a table, all of whose rows are as long as its header."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert len({len(row) for row in rows if row}) <= 1, "rows of different lengths"


def read_image(path: Path) -> None:
    """Decode an image."""
    with Image.open(path) as image:
        image.load()


READERS: Mapping[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": lambda path: yaml.safe_load(path.read_text(encoding="utf-8")),
    ".csv": read_csv,
    ".png": read_image,
    ".npz": lambda path: dict(np.load(path, allow_pickle=False)),
    ".ckpt": lambda path: torch.load(path, weights_only=True, map_location="cpu"),
}


def check_whole(path: Path) -> None:
    """Check that a file that a command wrote is complete."""
    require(".partial" not in str(path), f"left {path.name}")
    try:
        READERS.get(path.suffix, lambda path: None)(path)
    except Exception as error:
        raise Short(f"{path.name} is half-written: {error}") from None
