"""Arrays from an .npz file that nobody vouches for."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence

import numpy as np

DAMAGE = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile)
"""What reading a damaged or hostile archive raises."""
LEAST, RATIO = 1 << 30, 100
"""Bytes below which no archive is a bomb, and how often its own size it may unpack to."""
_HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}


def read_arrays(
    path: str | os.PathLike[str], names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read an archive of plain arrays: no pickles, and no bombs.

    Args:
        path: of the file.
        names: of the arrays that are wanted; all of them by default.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds objects, is no archive of arrays, or would unpack to far too much.
        KeyError: one that is wanted is not there.
    """
    check_archive(path)
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in (file.files if names is None else names)}


def check_archive(path: str | os.PathLike[str]) -> None:
    """Read the headers of an archive, and refuse it before anything large is allocated.

    Raises:
        ValueError: its members claim far more than the file is, or an array more than its member.
    """
    with zipfile.ZipFile(path) as archive:
        members, size = archive.infolist(), os.path.getsize(path)
        claimed = sum(member.file_size for member in members)
        if claimed > max(LEAST, RATIO * size):
            raise ValueError(f"would unpack to {claimed:,} bytes from {size:,}")
        for member in members:
            with archive.open(member) as file:
                major, _ = np.lib.format.read_magic(file)
                if major not in _HEADERS:
                    raise ValueError(f"{member.filename}: of an unknown kind of array")
                shape, _, dtype = _HEADERS[major](file)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename}: has less than its shape {shape}")
