"""Nested dicts and lists, as configs and JSON files hold them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any


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
