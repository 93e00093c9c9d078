"""Sharded tars of images in webdataset's layout: read from start to end, and written.

Members of one item share a key, `KEY.jpg` and `KEY.cls`, and are adjacent.
"""

import io
import json
import os
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from innflow.data.image.decode import SUFFIXES
from innflow.data.image.patterns import SIZES, Shard, library, open_shard, read_sizes
from innflow.data.image.storage import explain, open_storage
from innflow.errors import InnflowError
from innflow.system.progress import track

_EXTENSIONS = frozenset(suffix.removeprefix(".") for suffix in SUFFIXES)
_MOST_BYTES = 1 << 28
"""Largest size of a member, which a sparse or compressed one can exceed in a small tar."""
_DAMAGE = (tarfile.TarError, ValueError, EOFError, zlib.error)
_BLOCK = 512


@dataclass(frozen=True)
class Item:
    """An image file of a shard, with the name `shard/key` and its label as text, if any."""

    name: str
    data: bytes
    label: str | None


def read_items(shard: Shard, image: str | None = None, label: str | None = None) -> Iterator[Item]:
    """Yield the items of a shard in order; members without an image are skipped.

    For `image` and `label` see `Shards`.

    Raises:
        InnflowError: The shard cannot be read to its end or holds no image, an item has two images
            or no label.
    """
    empty = True
    for sample in _samples(shard):
        where = f"{shard.path}: {sample['__key__']}"
        known = sorted(sample.keys() & ({image} if image else _EXTENSIONS))
        if not known:
            continue
        if len(known) > 1:
            raise InnflowError(
                f"{where} has {len(known)} images ({', '.join(known)}): say which by data.image"
            )
        empty = False
        text = None if label is None else _label(sample, label, where)
        yield Item(f"{shard.name}/{sample['__key__']}", sample[known[0]], text)
    if empty:
        expected = f"KEY.{image}" if image else "KEY.jpg or KEY.png"
        raise InnflowError(f"{shard.path} holds no images: expected members such as {expected}")


def _label(sample: Mapping[str, Any], label: str, where: str) -> str:
    part, _, field = label.partition(".")
    if part not in sample:
        raise InnflowError(f"labels missing: {where} has no .{part} for its image")
    try:
        text = sample[part].decode()
        return str(json.loads(text)[field] if field else text).strip()
    except (ValueError, KeyError, TypeError):
        raise InnflowError(f"labels missing: {where}.{part} holds no {label}") from None


def _samples(shard: Shard) -> Iterator[dict[str, Any]]:
    """Yield the members of each item, by their extensions in lower case."""
    files = ({"fname": name, "data": data, "__url__": shard.path} for name, data in _members(shard))
    try:
        yield from library("webdataset").tariterators.group_by_keys(files)
    except ValueError as error:
        raise InnflowError(f"{shard.path}: {error.args[0]}") from error


def _members(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each regular file of a tar, read once from end to end."""
    try:
        with open_shard(shard) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if member.size > _MOST_BYTES:
                    raise InnflowError(
                        f"{shard.path}: {member.name!r} claims {member.size:,} bytes, more than "
                        f"any item has ({_MOST_BYTES:,}): remove it"
                    )
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content.read()
                # Otherwise all headers stay in memory.
                tar.members = []  # type: ignore[attr-defined]
            _check_end(tar)
    except InnflowError:
        raise
    except _DAMAGE as error:
        raise InnflowError(f"{shard.path} is damaged, or no tar: {error}") from error
    except FileNotFoundError as error:
        raise InnflowError(f"{shard.path} does not exist any more") from error
    except Exception as error:
        raise explain(shard.path, error) from error


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise a ReadError unless the tar ends in zeros: Python takes a broken header for the end."""
    stream: Any = tar.fileobj
    rest = stream.read(_BLOCK)
    whole = bool(rest)
    while rest and whole:
        whole, rest = not rest.strip(b"\0"), stream.read(1 << 16)
    if not whole:
        raise tarfile.ReadError("it is cut off, or a header is broken")


def write_shards(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    per_shard: int = 1000,
    name: str = "train",
    seed: int = 0,
) -> list[str]:
    """Pack the image files of a folder or a bucket into shards, in random order.

    Writes OUT/NAME-000000.tar and so on, and adds them to OUT/sizes.json. The folders directly
    below are classes; KEY.cls holds the number of an image's class.

    Args:
        folder: Folder, or `s3://bucket/prefix`.
        out: Folder or URL of the shards.
        per_shard: Number of images in each; the last one has the rest.
        name: Of the shards, before the number.
        seed: Of the order: reading shuffles only within a buffer, so each shard must be mixed.

    Returns:
        Names of the classes, in the order of their numbers; none for images in no folder.
    """
    storage = open_storage(folder)
    paths = [entry.path for entry in storage.entries]
    random.Random(seed).shuffle(paths)
    classes = sorted({path.partition("/")[0] for path in paths if "/" in path})
    out = str(out).rstrip("/")
    if "://" not in out:
        Path(out).mkdir(parents=True, exist_ok=True)
    sizes = read_sizes(f"{out}/{SIZES}") or {}
    keys: set[str] = set()
    starts = range(0, len(paths), per_shard)
    for number, start in enumerate(track(starts, f"writing {name}")):
        shard = f"{name}-{number:06d}.tar"
        some = paths[start : start + per_shard]
        with fsspec.open(f"{out}/{shard}", "wb") as file, tarfile.open(fileobj=file, mode="w") as t:
            for path in some:
                try:
                    data = storage.read(path)
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise InnflowError(f"{storage.root}/{path}: {reason}: remove it") from error
                _write_item(t, path, data, classes, keys)
        sizes[shard] = len(some)
    with fsspec.open(f"{out}/{SIZES}", "w") as file:
        json.dump(sizes, file, indent=0)
    return classes


def _write_item(
    tar: tarfile.TarFile, path: str, data: bytes, classes: Sequence[str], keys: set[str]
) -> None:
    pure = PurePosixPath(path)
    # The key ends at the first point of the file's name.
    key = str(pure.with_name(pure.stem.replace(".", "_")))
    if key in keys:
        key = f"{key}_{len(keys)}"
    keys.add(key)
    members = [(pure.suffix.lower(), data)]
    if "/" in path:
        members.append((".cls", str(classes.index(path.partition("/")[0])).encode()))
    for suffix, content in members:
        info = tarfile.TarInfo(f"{key}{suffix}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
