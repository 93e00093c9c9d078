"""Reading of .npz files from untrusted sources."""

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),  # RuntimeError: encrypted
    *(SyntaxError, tokenize.TokenError),  # the header of an array
)
"""Errors that reading a damaged or hostile archive raises."""
LEAST, RATIO = 1 << 30, 100
"""Unpacked size in bytes allowed for any archive, and the largest ratio above that size."""
_HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}


def read_arrays(
    path: str | os.PathLike[str], names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read the plain arrays of an archive, or some; refuse pickles and decompression bombs.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds objects, is no archive of arrays, or unpacks to too large a size.
        KeyError: an array of `names` is missing.
    """
    check_archive(path)
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in (file.files if names is None else names)}


def check_archive(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of each array of an archive, checked before any array is allocated.

    Raises:
        ValueError: the unpacked size is too large for the file, or an array for its member.
    """
    headers = {}
    with zipfile.ZipFile(path) as archive:
        members, size = archive.infolist(), os.path.getsize(path)
        claimed = sum(member.file_size for member in members)
        if claimed > max(LEAST, RATIO * size):
            raise ValueError(f"would unpack to {claimed:,} bytes from {size:,}")
        for member in members:
            with archive.open(member) as file:
                major, _ = np.lib.format.read_magic(file)
                if major not in _HEADERS:
                    raise ValueError(f"{member.filename}: unknown version of the array format")
                shape, _, dtype = _HEADERS[major](file)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename}: too small for its shape {shape}")
            headers[member.filename.removesuffix(".npy")] = (shape, dtype)
    return headers
