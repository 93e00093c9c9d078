"""Images or their features in one memory-mapped file, written once and checked when opened.

A cache is `<key>.raw`, the bytes of an array (N, ...), and `<key>.json` with its shape and names.
Each appears whole, the json last, so a reader never opens an incomplete cache. Two writers of one
key write the same bytes, so their order does not matter.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.image.decode import RULE
from innflow.errors import InnflowError
from innflow.system.file.atomic import remove_leftovers, write_text, writing

log = logging.getLogger(__name__)

_FORMAT = 1
_ALLOWED_SKIPS = 0.05
_TYPES = {"uint8": torch.uint8, "float32": torch.float32}


@dataclass
class Cached:
    """Images or features, their names, and "name: reason" of those left out.

    Images are uint8 (N, C, H, W), features float32 (N, ...).
    """

    images: Tensor
    names: list[str]
    skipped: list[str]


@dataclass
class _Label:
    shape: list[int]
    dtype: str
    crc: int
    names: list[str]
    skipped: list[str]


def cache_key(*facts: Any) -> str:
    """Return the name of a cache from all that its pixels depend on."""
    text = json.dumps([_FORMAT, RULE, *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_cache(folder: Path, key: str, verify: bool = False) -> Cached | None:
    """Open the cache of a key, or return None if it does not exist or is damaged.

    With `verify`, all of it is read once to compare its checksum.
    """
    raw, label_file = folder / f"{key}.raw", folder / f"{key}.json"
    try:
        label = _Label(**json.loads(label_file.read_text()))
        length, dtype = int(np.prod(label.shape)), _TYPES[label.dtype]
        damaged = raw.stat().st_size != length * dtype.itemsize
        damaged = damaged or len(label.names) != label.shape[0]
        damaged = damaged or (verify and zlib.crc32(np.memmap(raw, mode="r").data) != label.crc)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, ValueError, TypeError, OSError):
        damaged = True
    if damaged:
        log.warning("the cache %s is damaged: making it again", raw)
        return None
    # shared=False: an accidental change of the tensor does not reach the file.
    flat = torch.from_file(str(raw), shared=False, size=length, dtype=dtype)
    return Cached(flat.view(label.shape), label.names, label.skipped)


def write_cache(
    folder: Path, key: str, items: Iterable[tuple[str, np.ndarray | str]], total: int, source: str
) -> Cached:
    """Write images or features in the order given and open the result.

    Args:
        folder: Where caches lie; made if need be.
        key: Name of the cache.
        items: Pairs of a name and an array, uint8 or float32, all of one shape, or why there is
            none.
        total: Number of items.
        source: Where they come from, for messages.

    Raises:
        InnflowError: Too many could not be decoded, or the cache cannot be written.
    """
    crc, shape, dtype = 0, (0, 0, 0), "uint8"
    names: list[str] = []
    skipped: list[str] = []
    with writable(folder):
        with writing(folder / f"{key}.raw") as file:
            for name, image in items:
                if isinstance(image, str):
                    skipped.append(f"{name}: {image}")
                    stop_if_too_many(skipped, total, source)
                    continue
                data = image.tobytes()
                file.write(data)
                crc, shape, dtype = zlib.crc32(data, crc), image.shape, image.dtype.name
                names.append(name)
        label = _Label([len(names), *shape], dtype, crc, names, skipped)
        write_text(folder / f"{key}.json", json.dumps(asdict(label)))
    cached = read_cache(folder, key)
    if cached is None:
        raise InnflowError(f"the cache {folder / key}.raw changed while it was written: try again")
    return cached


def stop_if_too_many(skipped: Sequence[str], total: int, source: str) -> None:
    """Raise an error if more than 5% of all items could not be decoded."""
    if len(skipped) > _ALLOWED_SKIPS * total:
        raise InnflowError(
            f"{source}: more than {_ALLOWED_SKIPS:.0%} of {total:,} images cannot be decoded "
            f"({name_first(skipped)}): repair or remove them"
        )


def name_first(skipped: Sequence[str], limit: int = 3) -> str:
    """Return the first few as text on one line, and the number of the others."""
    more = f"; and {len(skipped) - limit:,} more" if len(skipped) > limit else ""
    text = "; ".join(skipped[:limit]) + more
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)  # names of files


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Make a folder that the block writes to; an error says that it cannot be written.

    What killed processes have left there is removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        yield
    except OSError as error:
        raise InnflowError(
            f"cannot write the cache {folder}: {error.strerror or error}; "
            "free some space there or set data.cache_dir"
        ) from error
