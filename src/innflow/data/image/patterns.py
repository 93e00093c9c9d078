"""Shards of images by path patterns, and their numbers of items."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from innflow.data.image.s3 import stream_object
from innflow.data.image.storage import S3, Entry, connect, explain, stamp_of
from innflow.errors import InnflowError
from innflow.system.file.regular import why_not_regular

SIZES = "sizes.json"
"""File in the folder of the shards that maps the name of each to its number of items."""
Patterns = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Shard(Entry):
    """A tar of images; its path is a full one, or a URL."""

    @property
    def name(self) -> str:
        """File name without its suffixes."""
        return PurePosixPath(self.path).name.partition(".")[0]


def find_shards(patterns: Patterns, key: str) -> list[Shard]:
    """List the shards of one pattern or several, in the order of the patterns.

    Patterns are paths or URLs with braces, `train-{000000..000099}.tar`, or wildcards; `key` is the
    config key of the data that holds them.

    Raises:
        InnflowError: A pattern is malformed or empty, a shard does not exist, or two shards have
            the same name.
    """
    given = [patterns] if isinstance(patterns, str | os.PathLike) else list(patterns or ())
    if not given or not all(str(pattern) for pattern in given):
        raise InnflowError(f"data.{key} is empty: give shards such as DIR/{key}-{{000..099}}.tar")
    found: dict[str, Shard] = {}
    for shard in chain.from_iterable(_find(str(pattern), key) for pattern in given):
        if found.setdefault(shard.name, shard) is not shard:
            raise InnflowError(
                f"data.{key}: {shard.path} is named twice, or another shard is called {shard.name}"
            )
    return list(found.values())


def _find(pattern: str, key: str) -> list[Shard]:
    braces = library("braceexpand")
    try:
        urls = list(braces.braceexpand(pattern))
    except ValueError as error:
        raise InnflowError(f"data.{key}={pattern}: braces do not match ({error})") from None
    if "://" not in pattern:
        urls = [str(Path(url).expanduser().absolute()) for url in urls]
    listed = cache(lambda folder: _list(folder, key))
    found: list[Shard] = []
    missing: list[str] = []
    for url in urls:
        folder, _, name = url.rpartition("/")
        there = listed(folder)
        wild = any(sign in name for sign in "*?[")
        names = [one for one in sorted(there) if fnmatchcase(one, name)] if wild else [name]
        if not names or names[0] not in there:
            missing.append(url)
            continue
        found += [Shard(f"{folder}/{one}", *there[one]) for one in names]
    if missing:
        local = None if "://" in missing[0] else why_not_regular(missing[0])
        verb = "matches no file" if "*" in missing[0] else local or "does not exist"
        others = f" (and {len(missing) - 1:,} of {len(urls):,} more)" if len(missing) > 1 else ""
        raise InnflowError(f"data.{key}: {missing[0]} {verb}{others}")
    return found


def _list(folder: str, key: str) -> dict[str, tuple[int, str]]:
    """Return size and stamp of each file of a folder, by name."""
    if "://" not in folder:
        try:
            with os.scandir(folder or "/") as entries:
                stats = {entry.name: entry.stat() for entry in entries if entry.is_file()}
        except OSError as error:
            raise InnflowError(f"data.{key}: cannot read {folder}: {error.strerror}") from None
        return {name: (stat.st_size, str(stat.st_mtime_ns)) for name, stat in stats.items()}
    try:
        files, path = connect(folder)
        found = files.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:
        raise explain(folder, error) from error
    files = [info for info in found if info["type"] == "file"]
    return {PurePosixPath(info["name"]).name: (info["size"], stamp_of(info)) for info in files}


def count_items(shards: Sequence[Shard]) -> int | None:
    """Return the number of items by sizes.json in the folder of the shards; None without one.

    Raises:
        InnflowError: The file is damaged, or a shard is missing in it.
    """
    read = cache(read_sizes)
    total = 0
    for shard in shards:
        folder, _, name = shard.path.rpartition("/")
        sizes = read(f"{folder}/{SIZES}")
        if sizes is None:
            return None
        number = sizes.get(name) if isinstance(sizes, dict) else None
        if isinstance(number, bool) or not isinstance(number, int):
            raise InnflowError(f"{folder}/{SIZES}: has no number of items for {name}")
        total += number
    return total


def read_sizes(url: str) -> Any:
    """Return the content of a sizes.json; None if it does not exist, an error if damaged."""
    try:
        with open_file(url) as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InnflowError(f"{url}: is damaged ({error})") from None


def open_file(url: str) -> Any:
    """Open a file by its path or URL, to be read once from start to end."""
    if "://" not in url:
        if Path(url).exists() and (reason := why_not_regular(url)):
            raise InnflowError(f"{url} {reason}: remove it")
        return Path(url).open("rb")
    try:
        files, path = connect(url)
        return files.open(path, "rb", block_size=1 << 23, cache_type="readahead")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise explain(url, error) from error


def open_shard(shard: Shard) -> Any:
    """Open a shard, to be read once from start to end.

    Raises:
        InnflowError: It is in a bucket and has changed since it was listed.
    """
    if shard.path.partition("://")[0] not in S3:
        return open_file(shard.path)
    files, path = connect(shard.path)
    return stream_object(files, path, shard.size, shard.stamp)


def library(name: str) -> Any:
    """Return a module of the optional package webdataset, or of its dependencies."""
    try:
        return import_module(name)
    except ImportError:
        raise InnflowError("data=shards needs webdataset: pip install 'innflow[stream]'") from None
