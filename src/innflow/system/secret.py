"""Removal of secrets from configs, overrides and messages before they are written."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from innflow.errors import InnflowError
from innflow.system.tree import walk

REMOVED = "SECRET-REMOVED"
"""Written to files in place of a secret."""

_WORDS = (
    r"(?:secret|password|passwd|passphrase|token|authorization|"
    r"api_?key|access_?key|private_?key)"
)
# A name is read word by word: `token` and `client_secret` name secrets, `tokens` does not.
_NAME = re.compile(rf"(?:^|_){_WORDS}(?:_|$)", re.IGNORECASE)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Environment variables that hold the path of a secret hold no secret themselves.
_WHERE = re.compile(r"_(?:FILE|PATH|DIR|URL|URI|EXPIRATION|TYPE|MODE)$")
SHORTEST = 8
"""Shortest value of an environment variable that is searched for in other texts."""

# References to a secret, ${oc.env:NAME}, and empty values stay.
_VALUE = r"(?!['\"]?(?:\$\{|SECRET-REMOVED|null\b|None\b|\?\?\?))"
_IN_TEXT = (
    # user and password of an address, also where the user alone is the token
    re.compile(rf"(?<=://)(?P<gone>[^/\s:@'\"$]*:{_VALUE}[^/\s@'\"]+|[^/\s:@'\"$]{{16,}})(?=@)"),
    # signed addresses of S3, Azure and Google
    re.compile(
        rf"[?&](?:[\w-]*(?:signature|credential|token|AccessKeyId)|sig|key)="
        rf"(?P<gone>{_VALUE}[^&\s'\"]+)",
        re.IGNORECASE,
    ),
    # keys of a known form: AWS, W&B, Hugging Face, GitHub
    re.compile(
        r"(?P<gone>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bwandb_v\d_\w{16,}|\bhf_[A-Za-z0-9]{20,}"
        r"|\bgh[pousr]_[A-Za-z0-9]{20,})"
    ),
    # password=..., 'api_key': ...
    re.compile(
        rf"(?P<key>[\w-]+)['\"]?(?:=|:[ ]*(?=['\"\w])(?=[^\n]*\}}))"
        rf"(?P<gone>{_VALUE}(?:'[^']*'|\"[^\"]*\"|[^\s,;&}}'\"]+))"
    ),
)


def is_secret(key: str) -> bool:
    """Return whether a key or an environment variable names a secret: `api_key`, `secret`."""
    return bool(_NAME.search(_HUMP.sub("_", key.replace("-", "_"))))


def redact_text(text: str) -> str:
    """Return a text without its secrets: passwords in addresses, known keys, `token=...`.

    >>> redact_text("token=abcdef0123456789")
    'token=SECRET-REMOVED'
    """
    for pattern in _IN_TEXT:
        text = pattern.sub(_without, text)
    for value in _exported():
        text = text.replace(value, REMOVED)
    return text


def redact(config: Any, key: str = "") -> Any:
    """Return a copy of plain dicts and lists, under a key, with `REMOVED` for every secret."""
    if isinstance(config, Mapping):
        inner = ((name, key if is_secret(key) else str(name)) for name in config)
        return {name: redact(config[name], label) for name, label in inner}
    if isinstance(config, list | tuple):
        return [redact(value, key) for value in config]
    if config is None or isinstance(config, bool) or config == "":
        return config
    if is_secret(key) and not (isinstance(config, str) and _names_one(config)):
        return REMOVED
    return redact_text(config) if isinstance(config, str) else config


def redact_override(text: str) -> str:
    """Return an override `key=value` without the secrets in it."""
    key, sign, value = text.partition("=")
    if not sign:
        return redact_text(text)
    return f"{key}={redact(value, key.lstrip('+~').rpartition('.')[2])}"


def refuse_typed(arguments: Iterable[str]) -> None:
    """Refuse secrets on a command line, which every user of the machine can read.

    Raises:
        InnflowError: naming the key, never the value.
    """
    for text in arguments:
        if redact_override(text) != text:
            key = text.partition("=")[0].lstrip("+~") if "=" in text else "the command line"
            raise InnflowError(
                f"{key} holds a secret, which would be seen by others and kept in the run folder; "
                "export it as an environment variable and write '${oc.env:NAME}' in its place"
            )


def refuse_revealed(config: Any) -> None:
    """Refuse a resolved config with a secret where others would see it, such as a name.

    A secret of the environment may stand under a key that names one, and in an address.

    Raises:
        InnflowError: naming the key, never the value.
    """
    for path, value in walk(config):
        if not isinstance(value, str) or "://" in value:
            continue
        hidden = any(is_secret(part) for part in re.split(r"[.\[]", path))
        if not hidden and redact_text(value) != value:
            raise InnflowError(
                f"{path}: holds a secret, which would be seen by others and kept in the run "
                "folder; '${oc.env:NAME}' of a secret takes a key such as api_key, or an address"
            )


def check_complete(config: Any, path: str) -> None:
    """Refuse a config from a run folder whose secrets were removed.

    Raises:
        InnflowError: naming the key whose value is needed again.
    """
    for key, value in walk(config, path):
        if isinstance(value, str) and REMOVED in value:
            raise InnflowError(
                f"{key}: held a secret, which no run folder keeps; give it again: "
                f"{key}='${{oc.env:NAME}}'"
            )


class Redacting(logging.Filter):
    """Logging filter that removes secrets from every message of a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the secrets from the message and the traceback of a record."""
        message = record.getMessage()
        shown = redact_text(message)
        if shown != message:
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = redact_text(logging.Formatter().formatException(record.exc_info))
        return True


def _without(match: re.Match[str]) -> str:
    key = match.groupdict().get("key")
    if key is not None and not is_secret(key):
        return match.group()
    start, stop = (edge - match.start() for edge in match.span("gone"))
    return match.group()[:start] + REMOVED + match.group()[stop:]


def _exported() -> list[str]:
    """Return the secrets in environment variables, longest first."""
    values = {
        value
        for name, value in os.environ.items()
        if is_secret(name) and not _WHERE.search(name) and len(value) >= SHORTEST
    }
    return sorted(values, key=len, reverse=True)


def _names_one(value: str) -> bool:
    """Return whether a value is only a reference to a secret, `${oc.env:NAME}`, or empty."""
    bare = value.strip("'\"")
    if bare in ("", "null", "???", "true", "false", REMOVED):
        return True
    return re.fullmatch(r"\$\{[^,{}]+\}", bare) is not None  # a default would be the secret
