"""Image files of a local folder or of `s3://bucket/prefix`: listed, read and decoded."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
import numpy as np
import torch
from torch import Tensor

from innflow.data.image.cache import name_first, stop_if_too_many
from innflow.data.image.decode import SUFFIXES, decode
from innflow.data.image.s3 import open_s3, read_object
from innflow.errors import InnflowError
from innflow.system.file.regular import why_not_regular
from innflow.system.progress import track

T = TypeVar("T")
log = logging.getLogger(__name__)

_UNSUPPORTED = frozenset({".avif", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".svg"})

S3 = ("s3", "s3a")


@dataclass(frozen=True)
class Entry:
    """A file: its path, of images below the root, its size in bytes, and a stamp of its version."""

    path: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Storage:
    """The image files below a root, sorted by path, and how to read one.

    Attributes:
        root: As a full path or URL.
        remote: Whether reading waits for a network.
        entries: Every image file that is not hidden, at any depth.
        read: Path below the root -> bytes; raises an OSError for a single file, InnflowError for
            the whole root.
    """

    root: str
    remote: bool
    entries: list[Entry]
    read: Callable[[str], bytes]


def open_storage(root: str | os.PathLike[str]) -> Storage:
    """List the images below a folder or a URL, or one single image file.

    Raises:
        InnflowError: The root does not exist, cannot be read, or has no images.
    """
    storage = _open_remote(str(root)) if "://" in str(root) else _open_local(Path(root))
    if not storage.entries:
        raise InnflowError(
            f"{storage.root} holds no images: expected files such as .jpg or .png "
            "in it or in its subfolders"
        )
    return storage


def _is_image(path: str) -> bool:
    pure = PurePosixPath(path)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in pure.parts)
    return not hidden and pure.suffix.lower() in SUFFIXES


def _open_local(root: Path) -> Storage:
    root = root.expanduser().absolute()
    try:
        if root.is_dir():
            found = sorted(_walk(root))
            paths = [path for path in found if _is_image(path)]
            _warn_of_others(root, [path for path in found if not _is_image(path)])
        elif reason := why_not_regular(root):
            raise InnflowError(f"{root} {reason}: give the folder that holds the images")
        elif _is_image(root.name):
            paths, root = [root.name], root.parent
        else:
            raise InnflowError(f"{root} is a file, and by its name no image: give a folder")
        entries = [_local_entry(root, path) for path in paths]
    except OSError as error:
        raise InnflowError(
            f"cannot read {error.filename or root}: {error.strerror}; check its permissions"
        ) from error

    def read(path: str) -> bytes:
        if reason := why_not_regular(root / path):
            raise OSError(reason)
        return (root / path).read_bytes()

    return Storage(str(root), False, entries, read)


def _local_entry(root: Path, path: str) -> Entry:
    """Return the entry of a path; what is no regular file fails later, like a damaged image."""
    if reason := why_not_regular(root / path):
        return Entry(path, 0, reason)
    stat = (root / path).stat()
    return Entry(path, stat.st_size, str(stat.st_mtime_ns))


def _warn_of_others(root: Path, paths: Sequence[str]) -> None:
    """Log images in formats that are not supported, and folders that are links to nothing."""
    other = [path for path in paths if PurePosixPath(path).suffix.lower() in _UNSUPPORTED]
    if other:
        log.warning("%s: %s not read, the format is not supported", root, name_first(other))
    for path in paths:
        if os.path.islink(root / path) and (reason := why_not_regular(root / path)):
            log.warning("%s: %s %s", root, path, reason)


def _walk(root: Path) -> Iterator[str]:
    """Yield everything below a folder but folders, with forward slashes; links are followed."""

    def stop(error: OSError) -> None:
        raise error

    for folder, inner, files in os.walk(root, followlinks=True, onerror=stop):
        here = Path(folder).resolve()
        for name in inner:
            link = Path(folder, name)
            if link.is_symlink() and link.resolve() in (here, *here.parents):
                raise InnflowError(f"{link} links to a folder that contains it: remove the link")
        below = Path(folder).relative_to(root)
        yield from ((below / file).as_posix() for file in files)


def connect(url: str) -> tuple[Any, str]:
    """Return a new, uncached file system for a URL, and the path on it; `explain` its errors."""
    scheme, _, path = url.partition("://")
    if scheme in S3:
        return open_s3(scheme), path
    return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False), path


def _open_remote(root: str) -> Storage:
    root = root.rstrip("/")
    scheme = root.partition("://")[0]
    try:
        files, base = connect(root)
        found = files.find(base, detail=True)
    except Exception as error:
        raise explain(root, error) from error

    entries = []
    for path, info in found.items():
        name = path[len(base) + 1 :] or PurePosixPath(path).name
        if info["type"] == "file" and _is_image(name):
            entries.append(Entry(name, info["size"], stamp_of(info)))
    single = len(found) == 1 and base in found
    folder = str(PurePosixPath(base).parent) if single else base

    listed = {entry.path: entry for entry in entries}

    def read(path: str) -> bytes:
        entry, full = listed[path], f"{folder}/{path}"
        try:
            if scheme in S3:
                return read_object(files, full, entry.size, entry.stamp)
            return bytes(files.cat_file(full))
        except (FileNotFoundError, PermissionError, InnflowError):
            raise
        except Exception as error:
            raise explain(root, error) from error

    url = f"{scheme}://{folder}"
    return Storage(url, True, sorted(entries, key=lambda entry: entry.path), read)


def stamp_of(info: Mapping[str, Any]) -> str:
    """Return the stamp of the version of a file on a remote file system."""
    return str(info.get("ETag") or info.get("mtime") or info.get("LastModified"))


def explain(root: str, error: Exception) -> InnflowError:
    """Return the InnflowError for an error of a remote file system."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        line = "the bucket does not exist: check its name and AWS_ENDPOINT_URL"
    elif isinstance(error, PermissionError):
        line = f"access refused ({error}): check the credentials and the bucket's policy"
    elif "Credentials" in kind or kind == "ProfileNotFound":
        line = f"no credentials ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    elif isinstance(error, ImportError):
        line = f"{error}"
    elif "Connect" in kind or "Timeout" in kind or "HTTPClient" in kind:
        reason = str(error) or kind
        line = f"cannot reach the server ({reason}): check the network and AWS_ENDPOINT_URL"
    else:
        line = f"cannot be read ({kind}: {error}): check the address and AWS_ENDPOINT_URL"
    return InnflowError(" ".join(f"{root}: {line}".split()))


def decode_all(
    storage: Storage, size: int, channels: int
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield the name of every image, and its pixels or why it cannot be decoded."""

    def load(path: str) -> tuple[str, np.ndarray | str]:
        try:
            return path, decode(storage.read(path), size, channels)
        except ValueError as error:
            return path, str(error)
        except OSError as error:
            return path, error.strerror or str(error)

    paths = [entry.path for entry in storage.entries]
    # Decoding releases the interpreter's lock; threads that wait for a network need no core.
    threads = 32 if storage.remote else os.cpu_count() or 1
    yield from track(map_threads(load, paths, threads), "decoding images", len(paths))


def map_threads(function: Callable[[Any], T], items: Iterable[Any], threads: int) -> Iterator[T]:
    """Yield the results of a function in order, a bounded number of them in memory."""
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while block := list(islice(remaining, 32 * threads)):
            yield from pool.map(function, block)


def read_images(
    source: str | os.PathLike[str], size: int, channels: int
) -> tuple[Tensor, list[str], list[str]]:
    """Decode every image of a folder, a bucket or a single file, without any cache.

    Returns:
        Images uint8 (N, C, size, size), their names, and "name: reason" of those left out.

    Raises:
        InnflowError: There are no images, or more than 5% cannot be decoded.
    """
    storage = open_storage(source)
    images: list[np.ndarray] = []
    names: list[str] = []
    skipped: list[str] = []
    for name, image in decode_all(storage, size, channels):
        if isinstance(image, str):
            skipped.append(f"{name}: {image}")
            stop_if_too_many(skipped, len(storage.entries), str(source))
        else:
            images.append(image)
            names.append(name)
    return torch.from_numpy(np.stack(images)), names, skipped
