"""Memory of this machine, compared with what a setting needs before anything is allocated."""

import math
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from innflow.errors import InnflowError

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the limit of a container, by version of Linux's control groups."""
_FACTORIES = (torch.empty, torch.full, torch.zeros, torch.ones, torch.rand, torch.randn)
"""Functions by which layers make their tensors, with the shape as first argument."""
_COUNTS = (torch.arange, torch.randperm)
"""Functions that make as many integers as their argument says."""
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def total_memory() -> int:
    """Return the memory of this machine or container in bytes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [Path(name).read_text().strip() for name in _LIMITS if Path(name).is_file()]
    return min([*limits, *(int(text) for text in texts if text.isdigit())])


def require_memory(setting: str, size: float) -> None:
    """Refuse a setting that needs more bytes than this machine has.

    Raises:
        InnflowError: with the setting, what it needs and what is there.

    >>> require_memory("n=10", 80)
    """
    there = total_memory()
    if size > there:
        raise InnflowError(
            f"{setting}: needs at least {_shown(size)} of memory, this machine has {_shown(there)}"
        )


class Allocations(TorchFunctionMode):
    """Context in which a tensor that does not fit into memory is refused instead of allocated.

    Args:
        setting: what is built in it, for the message.

    Raises:
        InnflowError: instead of the allocation.

    >>> with Allocations("model"):
    ...     layer = torch.nn.Linear(3, 4)
    """

    def __init__(self, setting: str) -> None:
        super().__init__()
        self.setting = setting

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compare the size of a new tensor with what is left, and call the function."""
        options = kwargs or {}
        if func in _COUNTS and len(args) == 1:
            require_memory(self.setting, _resident() + 8 * int(args[0]))
        if func in _FACTORIES:
            shape = args[0] if args and isinstance(args[0], list | tuple) else args
            item = (options.get("dtype") or torch.get_default_dtype()).itemsize
            require_memory(self.setting, _resident() + math.prod(shape) * item)
        return func(*args, **options)


def _resident() -> int:
    """Return the memory of this process in bytes; its peak where the system shows no other."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return pages * os.sysconf("SC_PAGE_SIZE")


def _shown(size: float) -> str:
    """Return a number of bytes with its unit."""
    power = min(int(math.log(max(size, 1), 1000)), len(_UNITS) - 1)
    return f"{size / 1000**power:,.0f} {_UNITS[power]}"
