"""Reading of objects that a server of S3 has listed: with patience, and never an object by halves.

A request that fails is repeated for half a minute in total. The object must still be the one that
was listed, as an epoch or a cache would otherwise mix two versions of the data.
"""

import asyncio
import errno
import io
import time
from functools import cache
from itertools import count
from typing import Any

import fsspec

from innflow.errors import InnflowError

_PATIENCE = 30.0
"""Seconds for all tries of one request."""
_BLOCK = 1 << 23
"""Bytes of one request of a file that is read as a stream."""


def open_s3(scheme: str) -> Any:
    """Return a new, uncached file system; a wrong endpoint is reported within seconds."""
    from s3fs.core import add_retryable_error

    _once(add_retryable_error)
    # botocore would retry for minutes. An answer that stalls leaves time for two other tries.
    limits = {"connect_timeout": 5, "read_timeout": _PATIENCE / 3, "retries": {"max_attempts": 0}}
    options = {"config_kwargs": limits, "use_listings_cache": False}
    files = fsspec.filesystem(scheme, skip_instance_cache=True, **options)
    files.retries = 3
    return files


@cache
def _once(add_retryable_error: Any) -> None:
    """Make s3fs retry refused connections too, not only lost ones."""
    from botocore.exceptions import EndpointConnectionError

    add_retryable_error(EndpointConnectionError)


def read_object(files: Any, path: str, size: int, stamp: str, start: int = 0) -> bytes:
    """Return `size` bytes of an object from position `start`.

    Args:
        files: From `open_s3`.
        path: Bucket and key.
        size: Number of bytes.
        stamp: ETag that the object had when it was listed.
        start: Position of the first byte.

    Raises:
        InnflowError: The object has changed.
        OSError: The server has not answered in time; other errors of s3fs and botocore likewise.
    """
    bucket, key, _ = files.split_path(path)
    asked = {"Bucket": bucket, "Key": key, "IfMatch": stamp}
    if size:
        asked["Range"] = f"bytes={start}-{start + size - 1}"
    deadline = time.monotonic() + _PATIENCE
    files.retries = 1  # they are counted here

    async def read() -> bytes:
        response = await files._call_s3("get_object", **asked)
        try:
            found: bytes = await response["Body"].read()
        finally:
            response["Body"].close()
        if len(found) != size:
            raise ConnectionError(f"{len(found):,} bytes of {size:,} received")
        return found

    async def repeat() -> bytes:
        for number in count():
            try:
                return await asyncio.wait_for(read(), max(deadline - time.monotonic(), 0.01))
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:
                if getattr(error, "errno", None) == errno.EINVAL:
                    raise InnflowError(
                        f"s3://{path} has changed since it was listed; start again when all "
                        "files are in place"
                    ) from error
                wait = min(0.1 * 1.7**number, 5.0)
                if time.monotonic() + wait > deadline:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError  # the loop has no end

    found: bytes = fsspec.asyn.sync(files.loop, repeat)
    return found


class ObjectStream(io.RawIOBase):
    """An object as a file that is read once from start to end, in blocks.

    Args:
        files, path, size, stamp: As for `read_object`; the size of the whole object.
    """

    def __init__(self, files: Any, path: str, size: int, stamp: str) -> None:
        self.files, self.path, self.size, self.stamp = files, path, size, stamp
        self.position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return their number, 0 at the end."""
        size = min(len(buffer), self.size - self.position)
        if size:
            found = read_object(self.files, self.path, size, self.stamp, self.position)
            buffer[:size] = found
            self.position += size
        return size


def stream_object(files: Any, path: str, size: int, stamp: str) -> io.BufferedReader:
    """Return an `ObjectStream` that requests eight megabytes at a time."""
    return io.BufferedReader(ObjectStream(files, path, size, stamp), _BLOCK)
