"""Files that a user gives to a page: pictures, archives of pictures, and rows of numbers."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from innflow.app import Unconditional
from innflow.data.image.decode import SUFFIXES, decode
from innflow.errors import InnflowError
from innflow.system.file.npz import DAMAGE

Files = Sequence[tuple[str, bytes]]
"""Name and content of files."""
MOST_PICTURES = 500
MOST_BYTES = 1 << 29
"""Largest size of what an archive unpacks to."""
TABLES = (".csv", ".npz", ".parquet")


def read_pictures(files: Files, size: int, channels: int) -> tuple[np.ndarray, list[str]]:
    """Return pictures (N, channels, size, size) uint8 and their names.

    Archives in the zip format are unpacked; what is no picture in them is left out.

    Raises:
        InnflowError: if there are none or too many, or one cannot be decoded.
    """
    given: list[tuple[str, bytes]] = []
    for name, content in files:
        given += _unpack(name, content) if name.lower().endswith(".zip") else [(name, content)]
    if not given:
        raise InnflowError("no pictures: give files such as .jpg or .png, or a zip of them")
    if len(given) > MOST_PICTURES:
        raise InnflowError(
            f"{len(given):,} pictures: at most {MOST_PICTURES} at a time, innflow-score takes any "
            "number"
        )
    images = []
    for name, content in given:
        try:
            images.append(decode(content, size, channels))
        except ValueError as error:
            raise InnflowError(f"{name}: {error}") from None
    return np.stack(images), [name for name, _ in given]


def _unpack(name: str, content: bytes) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [each for each in archive.infolist() if _is_picture(each.filename)]
            if sum(each.file_size for each in members) > MOST_BYTES:
                raise InnflowError(f"{name}: unpacks to more than {MOST_BYTES >> 20} MiB")
            return [(each.filename, archive.read(each)) for each in members]
    except DAMAGE as error:
        raise InnflowError(f"{name}: cannot be unpacked ({error})") from None


def _is_picture(name: str) -> bool:
    path = Path(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES


def read_vectors(app: Unconditional, name: str, content: bytes) -> Tensor:
    """Return the rows (N, D) of a table, as `to_data` reads it.

    Raises:
        InnflowError: as `to_data`.
    """
    if not name.lower().endswith(TABLES):
        raise InnflowError(f"{name}: give a table, {', '.join(TABLES)}")
    with TemporaryDirectory() as folder:
        path = Path(folder, Path(name).name)
        path.write_bytes(content)
        try:
            return app.to_data(str(path))
        except InnflowError as error:
            raise InnflowError(str(error).replace(f"{folder}/", "")) from None


def parse_rows(app: Unconditional, text: str) -> Tensor:
    """Return rows (N, D) that were typed or pasted, with or without a line of column names.

    Cells are separated by commas, semicolons or tabs, or, without these, by blanks.

    Raises:
        InnflowError: as `to_data`.
    """
    if not text.strip():
        raise InnflowError("no rows: paste some, one a line")
    separator = next((sign for sign in "\t;," if sign in text), None)
    lines = [line.split(separator) for line in text.strip().splitlines() if line.strip()]
    rows = "\n".join(",".join(cell.strip() for cell in line) for line in lines)
    return read_vectors(app, "rows.csv", rows.encode())


def parse_numbers(
    texts: Sequence[str | None], names: Sequence[str], missing: bool = False
) -> Tensor:
    """Return the numbers (N,) in fields; blank ones are NaN where values may be missing.

    Raises:
        InnflowError: if a field holds no number.

    Example:
        >>> parse_numbers(["1", " "], ["a", "b"], missing=True)
        tensor([1., nan])
    """
    found = []
    for text, name in zip(texts, names, strict=True):
        shown = (text or "").strip()
        try:
            found.append(float("nan") if missing and not shown else float(shown))
        except ValueError:
            raise InnflowError(f"{name}: {shown or 'blank'} is not a number") from None
    return torch.tensor(found)
