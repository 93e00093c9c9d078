"""Sharded tars of images, as webdataset lays them out: found, read from end to end, and written.

A shard is a tar; members of one item share a key, `KEY.jpg` and `KEY.cls`, and lie side by side.
"""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from innflow.data.image.decode import SUFFIXES
from innflow.data.image.storage import connect, explain, open_storage, wait_for
from innflow.errors import InnflowError
from innflow.system.progress import track

SIZES = "sizes.json"
"""File beside shards that maps the name of each to its number of items."""
Patterns = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_EXTENSIONS = frozenset(suffix.removeprefix(".") for suffix in SUFFIXES)
_MOST_BYTES = 1 << 28
"""Of one member: a sparse or a compressed one may claim far more than the tar has."""
_DAMAGE = (tarfile.TarError, ValueError, EOFError, zlib.error)
_BLOCK = 512


@dataclass(frozen=True)
class Shard:
    """A tar of images: its path or URL, its size in bytes, and a stamp of its version."""

    url: str
    size: int
    stamp: str

    @property
    def name(self) -> str:
        """File name without its suffixes."""
        return PurePosixPath(self.url).name.partition(".")[0]


@dataclass(frozen=True)
class Item:
    """An image file of a shard, its name `shard/key`, and its label as text where one is read."""

    name: str
    data: bytes
    label: str | None


def find_shards(patterns: Patterns, key: str) -> list[Shard]:
    """List the shards of one pattern or several, in the order of the patterns.

    Args:
        patterns: Paths or URLs with braces, `train-{000000..000099}.tar`, or wildcards.
        key: Of the config, for errors.

    Raises:
        InnflowError: A pattern is malformed or empty, a shard that it names is not there, or two
            have the same name, of which the names of items are made.
    """
    given = [patterns] if isinstance(patterns, str | os.PathLike) else list(patterns or ())
    if not given or not all(str(pattern) for pattern in given):
        raise InnflowError(f"data.{key} is empty: give shards such as DIR/{key}-{{000..099}}.tar")
    found = [shard for pattern in given for shard in _find(str(pattern), key)]
    names: set[str] = set()
    for shard in found:
        if shard.name in names:
            raise InnflowError(
                f"data.{key}: {shard.url} is named twice, or another shard is called {shard.name}"
            )
        names.add(shard.name)
    return found


def _find(pattern: str, key: str) -> list[Shard]:
    braces = library("braceexpand")
    try:
        urls = list(braces.braceexpand(pattern))
    except ValueError as error:
        raise InnflowError(f"data.{key}={pattern}: braces do not match ({error})") from None
    if "://" not in pattern:
        urls = [str(Path(url).expanduser().absolute()) for url in urls]
    folders: dict[str, dict[str, Any]] = {}
    found: list[Shard] = []
    missing: list[str] = []
    for url in urls:
        folder, _, name = url.rpartition("/")
        if folder not in folders:
            folders[folder] = _list(folder, key)
        there = folders[folder]
        wild = any(sign in name for sign in "*?[")
        names = [one for one in sorted(there) if fnmatchcase(one, name)] if wild else [name]
        if not names or names[0] not in there:
            missing.append(url)
            continue
        found += [_shard(f"{folder}/{one}", there[one]) for one in names]
    if missing:
        verb = "does not exist" if "*" not in missing[0] else "matches no file"
        others = f" (and {len(missing) - 1:,} of {len(urls):,} more)" if len(missing) > 1 else ""
        raise InnflowError(f"data.{key}: {missing[0]} {verb}{others}")
    return found


def _list(folder: str, key: str) -> dict[str, Any]:
    """Return what lies in a folder, by name."""
    if "://" not in folder:
        try:
            with os.scandir(folder or "/") as entries:
                return {entry.name: entry.stat() for entry in entries if entry.is_file()}
        except OSError as error:
            raise InnflowError(f"data.{key}: cannot read {folder}: {error.strerror}") from None
    try:
        files, path = connect(folder)
        found = files.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:
        raise explain(folder, error) from error
    return {PurePosixPath(info["name"]).name: info for info in found if info["type"] == "file"}


def _shard(url: str, info: Any) -> Shard:
    if isinstance(info, Mapping):
        stamp = str(info.get("ETag") or info.get("mtime") or info.get("LastModified"))
        return Shard(url, info["size"], stamp)
    return Shard(url, info.st_size, str(info.st_mtime_ns))


def count_items(shards: Sequence[Shard]) -> int | None:
    """Return the number of items by the file sizes.json beside the shards; None without one.

    Raises:
        InnflowError: The file is damaged, or does not know a shard.
    """
    tables: dict[str, Any] = {}
    total = 0
    for shard in shards:
        folder, _, name = shard.url.rpartition("/")
        where = f"{folder}/{SIZES}"
        if folder not in tables:
            try:
                with _open(where) as file:
                    tables[folder] = json.load(file)
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise InnflowError(f"{where}: is damaged ({error})") from None
        count = tables[folder].get(name) if isinstance(tables[folder], dict) else None
        if isinstance(count, bool) or not isinstance(count, int):
            raise InnflowError(f"{where}: does not say how many items {name} holds")
        total += count
    return total


def read_items(shard: Shard, image: str | None = None, label: str | None = None) -> Iterator[Item]:
    """Yield the items of a shard in their order; members that belong to no image are passed over.

    Args:
        shard: The tar.
        image: Extension of the images, such as jpg; by default any known one.
        label: `cls`, or `json.FIELD` for a field of KEY.json; None where labels are not wanted.

    Raises:
        InnflowError: The shard cannot be read to its end or holds no image, an item has two images
            or no label.
    """
    empty = True
    for sample in _samples(shard):
        name = f"{shard.name}/{sample['__key__']}"
        known = sorted(sample.keys() & ({image} if image else _EXTENSIONS))
        if not known:
            continue
        if len(known) > 1:
            raise InnflowError(
                f"{shard.url}: {sample['__key__']} has {len(known)} images ({', '.join(known)}): "
                "say which by data.image"
            )
        empty = False
        text = None if label is None else _label(sample, label, f"{shard.url}: {sample['__key__']}")
        yield Item(name, sample[known[0]], text)
    if empty:
        expected = f"KEY.{image}" if image else "KEY.jpg or KEY.png"
        raise InnflowError(f"{shard.url} holds no images: expected members such as {expected}")


def _label(sample: Mapping[str, Any], label: str, where: str) -> str:
    part, _, field = label.partition(".")
    if part not in sample:
        raise InnflowError(f"labels missing: {where} has no .{part} beside its image")
    try:
        text = sample[part].decode()
        return str(json.loads(text)[field] if field else text).strip()
    except (ValueError, KeyError, TypeError):
        raise InnflowError(f"labels missing: {where}.{part} holds no {label}") from None


def _samples(shard: Shard) -> Iterator[dict[str, Any]]:
    """Yield the members of each item, by their extensions in lower case."""
    files = ({"fname": name, "data": data, "__url__": shard.url} for name, data in _members(shard))
    try:
        yield from library("webdataset").tariterators.group_by_keys(files)
    except ValueError as error:
        raise InnflowError(f"{shard.url}: {error.args[0]}") from error


def _members(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each regular file of a tar, read once from end to end."""
    try:
        with _open(shard.url) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if member.size > _MOST_BYTES:
                    raise InnflowError(
                        f"{shard.url}: {member.name!r} claims {member.size:,} bytes, more than any "
                        f"item has ({_MOST_BYTES:,}): remove it"
                    )
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content.read()
                # Or every header read so far stays in memory.
                tar.members = []  # type: ignore[attr-defined]
            _check_end(tar)
    except InnflowError:
        raise
    except _DAMAGE as error:
        raise InnflowError(f"{shard.url} is damaged, or no tar: {error}") from error
    except FileNotFoundError as error:
        raise InnflowError(f"{shard.url} does not exist any more") from error
    except Exception as error:
        raise explain(shard.url, error) from error


def _check_end(tar: tarfile.TarFile) -> None:
    """Refuse a tar that does not end in zeros: to Python, a broken header is an end like another.

    Raises:
        ReadError: There is something behind the end, or nothing at all.
    """
    stream: Any = tar.fileobj
    rest = stream.read(_BLOCK)
    whole = bool(rest)
    while rest and whole:
        whole, rest = not rest.strip(b"\0"), stream.read(1 << 16)
    if not whole:
        raise tarfile.ReadError("it breaks off, or a header is broken")


def _open(url: str) -> Any:
    if "://" not in url:
        return Path(url).open("rb")
    try:
        files, path = connect(url)
        wait_for(files)  # it has been listed before
        # Read through once: a block that has been read is not needed again.
        return files.open(path, "rb", block_size=1 << 23, cache_type="readahead")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise explain(url, error) from error


def library(name: str) -> Any:
    """Return a module of webdataset, whose rules say what an item is, or of what comes with it."""
    try:
        return import_module(name)
    except ImportError:
        raise InnflowError("data=shards needs webdataset: pip install 'innflow[stream]'") from None


def write_shards(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    per_shard: int = 1000,
    name: str = "train",
    seed: int = 0,
) -> list[str]:
    """Pack the images of a folder or a bucket into shards in random order, files as they are.

    Writes OUT/NAME-000000.tar and so on, and adds them to OUT/sizes.json. The folders directly
    below are classes; an image in one has the number of its class beside it as KEY.cls.

    Args:
        folder: Folder, or `s3://bucket/prefix`.
        out: Folder or URL of the shards.
        per_shard: Number of images in each; the last one has the rest.
        name: Of the shards, before the number.
        seed: Of the order: a stream is shuffled only so far, a shard must be a mixture by itself.

    Returns:
        Names of the classes, in the order of their numbers; none where images lie in no folder.
    """
    storage = open_storage(folder)
    paths = [entry.path for entry in storage.entries]
    random.Random(seed).shuffle(paths)
    classes = sorted({path.partition("/")[0] for path in paths if "/" in path})
    out = str(out).rstrip("/")
    if "://" not in out:
        Path(out).mkdir(parents=True, exist_ok=True)
    try:
        with _open(f"{out}/{SIZES}") as file:
            sizes = json.load(file)
    except FileNotFoundError:
        sizes = {}
    keys: set[str] = set()
    starts = range(0, len(paths), per_shard)
    for number, start in enumerate(track(starts, f"writing {name}")):
        shard = f"{name}-{number:06d}.tar"
        some = paths[start : start + per_shard]
        with fsspec.open(f"{out}/{shard}", "wb") as file, tarfile.open(fileobj=file, mode="w") as t:
            for path in some:
                _write_item(t, path, storage.read(path), classes, keys)
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
    members: Iterable[tuple[str, bytes]] = [(pure.suffix.lower(), data)]
    if "/" in path:
        members = [*members, (".cls", str(classes.index(path.partition("/")[0])).encode())]
    for suffix, content in members:
        info = tarfile.TarInfo(f"{key}{suffix}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
