"""Signatures by which an account recognises the settings that it has written itself."""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

KEY = "signing-key"
"""File in the folder of caches with the key of this account, readable by it alone."""
_BYTES = 32


def cache_folder() -> Path:
    """Return the folder of caches: the environment variable INNFLOW_CACHE, or ~/.cache/innflow."""
    return Path(os.environ.get("INNFLOW_CACHE") or "~/.cache/innflow").expanduser().absolute()


def sign(*values: Any) -> str | None:
    """Return a digest of plain values under the key of this account; None where it has no key.

    >>> sign({"n": 3}) == sign({"n": 3}), sign({"n": 3}) == sign({"n": 4})
    (True, False)
    """
    key = _key()
    if key is None:
        return None
    text = json.dumps(values, default=str)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_signed(signature: Any, *values: Any) -> bool:
    """Return whether this account has signed these values."""
    expected = sign(*values)
    given = signature if isinstance(signature, str) else ""
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())


def _key() -> bytes | None:
    """Return the key, made on first use, or None where it cannot be kept or is not private."""
    path = cache_folder() / KEY
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        found, key = path.stat(), path.read_bytes()
    except OSError:
        return None
    private = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return key if private and len(key) == _BYTES else None


def _make_key(path: Path) -> None:
    """Write a new key, unless another process has written one in the meantime."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent)  # readable by this account alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)
