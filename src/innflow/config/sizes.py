"""Sizes in a config, compared with the memory of this machine before anything is built."""

from collections.abc import Mapping
from typing import Any

from innflow.system.memory import require_memory
from innflow.system.tree import walk

GROUPS = ("model", "embedding", "latent", "app", "score", "data", "analysis")
"""Nodes of a config whose whole numbers are sizes."""
_LEAST = {
    "depth": 20_000,  # a coupling and its network, with one unit a layer
    "levels": 20_000,
    "layers": 4_000,  # a layer of a network
    "blocks": 4_000,
    "workers": 10_000_000,  # a process
    "processes": 10_000_000,
}
"""Bytes of memory that one item takes at least, by the key of their number; else 4."""
_NO_SIZES = ("seed", "draw_seed")


def check_sizes(config: Mapping[str, Any]) -> None:
    """Refuse a number of things that cannot fit into memory, however small each of them is.

    Raises:
        InnflowError: naming the key, what it needs at least and what is there.
    """
    for group in GROUPS:
        for path, value in walk(config.get(group), group):
            key = path.partition("[")[0].rpartition(".")[2]
            if isinstance(value, int) and key not in _NO_SIZES:
                require_memory(f"{path}={value}", value * _LEAST.get(key, 4))


def largest_size(config: Mapping[str, Any], group: str) -> str:
    """Return the largest whole number of a node as `key=value`, or the name of the node."""
    sizes = [(value, path) for path, value in walk(config[group], group) if isinstance(value, int)]
    return f"{max(sizes)[1]}={max(sizes)[0]}" if sizes else group
