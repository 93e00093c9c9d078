"""Nested dicts and lists, as configs and JSON files hold them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = (str, int, float, bool, type(None))


def walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of a tree and of every value in it, outermost first.

    >>> list(walk({"data": {"sizes": [3]}}))[2:]
    [('data.sizes', [3]), ('data.sizes[0]', 3)]
    """
    yield path, tree
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from walk(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from walk(value, f"{path}[{index}]")


def move_paths(tree: Any, old: str, new: str) -> Any:
    """Return a copy of a tree in which the folder `old` is `new` in every path, keys included."""
    if isinstance(tree, Mapping):
        return {move_paths(k, old, new): move_paths(v, old, new) for k, v in tree.items()}
    if isinstance(tree, list):
        return [move_paths(value, old, new) for value in tree]
    if isinstance(tree, str):
        return re.sub(re.escape(old) + r"(?=/|$)", lambda _: new, tree)
    return tree


def check_plain(tree: Any, *others: type, most: int = 1_000_000, deepest: int = 50) -> None:
    """Check that a tree from a file is of dicts, lists, scalars and `others`, and of finite size.

    A file can hold a tree that contains itself, or one part many times.

    Raises:
        ValueError: with the reason.
    """
    waiting, count = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > most or depth > deepest:
            raise ValueError(f"has more than {most:,} entries or {deepest} levels")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for item in value.items() for part in item]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
        elif not isinstance(value, (*_PLAIN, *others)):
            raise ValueError(f"holds a {type(value).__name__}, which innflow never writes")
