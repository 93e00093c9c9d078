"""Files that are written whole or not at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np


@contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that replaces `path` when the block ends without an error.

    The content is on the disk before the name is: a loss of power leaves the old file or the new
    one. A killed process leaves `.<name>.partial`.

    Args:
        path: the file to write.
        mode: "w" for UTF-8 text without translation of newlines, "wb" for bytes.
    """
    partial = path.with_name(f".{path.name}.partial")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with partial.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with writing(path) as file:
        file.write(text)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file whole or not at all."""
    with writing(path, "wb") as file:
        np.savez(file, **cast(dict[str, Any], dict(arrays)))
