"""Decoded images in one memory-mapped file, written once and checked when opened.

A cache is `<key>.u8`, the raw (N, C, H, W) bytes, and `<key>.json` with their shape and names. Each
appears whole, the json last, so a reader never opens an incomplete cache. Two writers of one key
write the same bytes, so their order does not matter.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.image.decode import RULE
from innflow.errors import InnflowError
from innflow.system.atomic import write_text, writing

log = logging.getLogger(__name__)

_FORMAT = 1
_ALLOWED_SKIPS = 0.05


@dataclass
class Cached:
    """Images uint8 (N, C, H, W), their names, and "name: reason" of those left out."""

    images: Tensor
    names: list[str]
    skipped: list[str]


@dataclass
class _Label:
    shape: list[int]
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
    pixels, label_file = folder / f"{key}.u8", folder / f"{key}.json"
    try:
        label = _Label(**json.loads(label_file.read_text()))
        length = int(np.prod(label.shape))
        damaged = pixels.stat().st_size != length or len(label.names) != label.shape[0]
        damaged = damaged or (verify and zlib.crc32(np.memmap(pixels, mode="r").data) != label.crc)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError):
        damaged = True
    if damaged:
        log.warning("the cache %s is damaged: making it again", pixels)
        return None
    # shared=False: an accidental change of the tensor does not reach the file.
    flat = torch.from_file(str(pixels), shared=False, size=length, dtype=torch.uint8)
    return Cached(flat.view(label.shape), label.names, label.skipped)


def write_cache(
    folder: Path, key: str, items: Iterable[tuple[str, np.ndarray | str]], total: int, source: str
) -> Cached:
    """Write images in the order given and open the result.

    Args:
        folder: Where caches lie; made if need be.
        key: Name of the cache.
        items: Pairs of a name and uint8 (C, H, W), or why there are no pixels.
        total: Number of items.
        source: Where they come from, for messages.

    Raises:
        InnflowError: Too many could not be decoded, or the cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    crc, shape = 0, (0, 0, 0)
    names: list[str] = []
    skipped: list[str] = []
    try:
        with writing(folder / f"{key}.u8") as file:
            for name, image in items:
                if isinstance(image, str):
                    skipped.append(f"{name}: {image}")
                    stop_if_too_many(skipped, total, source)
                    continue
                data = image.tobytes()
                file.write(data)
                crc, shape = zlib.crc32(data, crc), image.shape
                names.append(name)
        label = _Label([len(names), *shape], crc, names, skipped)
        write_text(folder / f"{key}.json", json.dumps(asdict(label)))
    except OSError as error:
        raise unwritable(folder, error) from error
    cached = read_cache(folder, key)
    if cached is None:
        raise InnflowError(f"the cache {folder / key}.u8 changed while it was written: try again")
    return cached


def stop_if_too_many(skipped: Sequence[str], total: int, source: str) -> None:
    """Raise an error if more than 5% of all items could not be decoded."""
    if len(skipped) > _ALLOWED_SKIPS * total:
        raise InnflowError(
            f"{source}: more than {_ALLOWED_SKIPS:.0%} of {total:,} images cannot be decoded "
            f"({name_first(skipped)}): repair or remove them"
        )


def name_first(skipped: Sequence[str], limit: int = 3) -> str:
    """Return the first few as text, and the number of the others."""
    more = f"; and {len(skipped) - limit:,} more" if len(skipped) > limit else ""
    return "; ".join(skipped[:limit]) + more


def unwritable(folder: Path, error: OSError) -> InnflowError:
    """Return the error of a cache folder that cannot be written."""
    return InnflowError(
        f"cannot write the cache {folder}: {error.strerror or error}; "
        "free some space there or set data.cache_dir"
    )
