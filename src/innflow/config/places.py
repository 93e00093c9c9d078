"""Places that the config of a run names: paths and addresses outside of its folder."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from innflow.config.schema import hints_of, nodes, target_of
from innflow.errors import InnflowError
from innflow.system.signature import cache_folder
from innflow.system.tree import walk

PRETRAINED = "pretrained:"
"""Prefix of the names of flows that come with innflow."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:\S")
_FILE = re.compile(r"file:(//)?(?=/)")
_PATH = re.compile(r"\bPath(Like)?\b")
_NAMED = ("companions", "logger")
"""Keys under which every text names a run, or where results are sent."""
_UNUSED = ("paths", "run_dir", "init")
"""Keys that a resumed run does not read."""


def confine(
    config: Mapping[str, Any], where: str, run_dir: Path, typed: Sequence[str] | None
) -> dict[str, Any]:
    """Return a config that another account may have written, with the cache of this one.

    Args:
        config: plain dicts whose targets are trusted.
        where: the file, for messages.
        run_dir: the run folder, in which all paths are allowed.
        typed: overrides of the command line, whose places are allowed; None where a command takes
            no overrides.

    Raises:
        InnflowError: naming every place outside of the run folder and the cache that is not typed.
    """
    data = config.get("data") or {}
    if not isinstance(data, Mapping):
        raise InnflowError(f"{where}: data={data!r}: must be keys and values")
    data = dict(data)
    if isinstance(data.get("cache_dir"), str) and not _typed_values("data.cache_dir", typed):
        data["cache_dir"] = str(cache_folder())
    config = {**config, "data": data} if data else dict(config)
    refuse_places(dict(_places(config)), where, run_dir, typed)
    return config


def refuse_places(
    found: Mapping[str, Any], where: str, run_dir: Path, typed: Sequence[str] | None
) -> None:
    """Refuse texts, by their keys, that name places outside of a run folder and the cache."""
    inside = [os.path.realpath(folder) for folder in (run_dir, cache_folder())]
    outside = {
        key: value
        for key, value in found.items()
        if not _lies_in(value, inside) and value not in _typed_values(key, typed)
    }
    if outside:
        named = " ".join(f"{key.partition('[')[0]}={value}" for key, value in outside.items())
        allow = "load it with trust=true" if typed is None else f"add {named}"
        raise InnflowError(
            f"{where}: was not written by this account and names places outside of the run "
            f"folder, {named}; if you trust them, {allow}"
        )


def is_place(text: str) -> bool:
    """Return whether a text by itself is a path outside of the current folder, or an address.

    >>> [is_place(text) for text in ("/etc", "~/x", "a/../b", "s3://a", "00:15:00", "val/nll")]
    [True, True, True, True, False, False]
    """
    return text[:1] in ("/", "~") or ".." in Path(text).parts or bool(_ADDRESS.match(text))


def _places(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and text of each place that a config names, relative paths included."""
    paths = {f"{path}.{key}" for path, node in nodes(config) for key in _path_keys(path, node)}
    for key, value in walk(config):
        if not isinstance(value, str) or not value or key.endswith("._target_"):
            continue
        above = re.split(r"[.\[]", key)
        within = {".".join(above[:depth]) for depth in range(1, len(above) + 1)}
        named = above[0] in _NAMED or paths & within or is_place(value)
        if named and above[0] not in _UNUSED and not value.startswith(PRETRAINED):
            yield key, value


def _path_keys(path: str, node: Mapping[str, Any]) -> list[str]:
    """Return the keys of a node that its target annotates as paths."""
    hints = hints_of(target_of(path, node))
    return [key for key in node if _PATH.search(str(hints.get(key, "")))]


def _lies_in(text: str, folders: Sequence[str]) -> bool:
    plain = _FILE.sub("", text)
    if plain[:1] == "~" or ".." in Path(plain).parts or _ADDRESS.match(plain):
        return False
    if plain != text and "%" in plain:
        return False  # an escape that may stand for two dots
    real = Path(os.path.realpath(plain))
    return any(real.is_relative_to(folder) for folder in folders)


def _typed_values(key: str, typed: Sequence[str] | None) -> set[str]:
    """Return the texts that overrides give to a key, or to one above it."""
    parser, found = OverridesParser.create(), set()
    for each in map(parser.parse_override, typed or ()):
        if f"{key}.".startswith((f"{each.key_or_group}.", f"{each.key_or_group}[")):
            found |= {str(value) for _, value in walk(each.value())}
    return found
