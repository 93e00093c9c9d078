"""How the C library treats freed memory, which on CPU is a fifth of a large training step.

A step frees what it has kept and the next one asks for the same sizes again. glibc hands blocks
above 32 MB back to the kernel at once, and the top of its heap above 64 MB: each page is then
cleared and mapped once more, every step.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEEP = 2**31 - 1
"""Bytes, as many as mallopt takes."""
OWN = ("MALLOC_", "GLIBC_TUNABLES")
"""How the variables begin by which users of glibc choose for themselves."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep the memory that it frees, for its next step.

    The process then stays at the most that it has used. Another allocator (jemalloc, tcmalloc) is
    not touched, nor a choice that the user has made in the environment.

    Args:
        environment: variables of the process.

    Returns:
        Whether it does now.
    """
    if sys.platform != "linux" or any(name.startswith(OWN) for name in environment):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all(mallopt(parameter, KEEP) for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
