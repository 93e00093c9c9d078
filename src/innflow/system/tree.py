"""Nested dicts and lists, as configs and JSON files hold them."""

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
