"""Atomic writing of files and folders: to a temporary name, flushed to disk, renamed."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast
from uuid import uuid4

import numpy as np

YOUNG = 60.0
"""Seconds for which a partial file is never taken for one of a killed process."""


@contextmanager
def writing(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that replaces `path` when the block ends, and is removed if the block raises.

    Content and name are flushed to disk, so that a loss of power leaves the old file or the new
    one. A killed process leaves `.NAME.*.partial`, see `remove_leftovers`.

    Args:
        path: the file to write; its folder exists.
        mode: "wb" for bytes, "w" for UTF-8 text without translation of newlines.

    Raises:
        OSError: the file cannot be written; an existing one is left as it was.
    """
    partial = _aside(path)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with _open_locked(partial, mode, text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _open_locked(path: Path, mode: str, text: Mapping[str, Any]) -> IO[Any]:
    """Open a new file with a lock that ends with this process, however it ends."""
    while True:
        file = path.open(mode, **text)
        with suppress(OSError):  # a file system without locks: leftovers stay there
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # otherwise `remove_leftovers` of another process came first
            return file
        file.close()


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files that killed processes have left in a folder.

    Younger files are left: their writers may not have locked them yet, or be about to rename them.
    """
    for partial in folder.glob(".*.partial"):
        with suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
            if time.time() - partial.stat().st_mtime > YOUNG:
                partial.unlink()


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Make a folder that becomes `path` when the block ends, and is removed if the block raises.

    Missing parents are made too. Where another process has made `path` in the meantime, that
    folder stays.
    """
    partial = _aside(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        try:
            os.rename(partial, path)
        except OSError:
            if not path.is_dir():
                raise
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by `writing`."""
    with writing(path, "w") as file:
        file.write(text)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an indented JSON file by `writing`."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file of plain arrays by `writing`."""
    with writing(path) as file:
        np.savez(file, **cast(dict[str, Any], dict(arrays)))


def _aside(path: Path) -> Path:
    """Return a hidden path in the same folder, unique to this writer."""
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")


def _sync(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
