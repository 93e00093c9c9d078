"""Reuse of freed memory by the C library, which saves a fifth of a large training step on CPU.

Each training step frees its activations and the next one allocates the same sizes. By default glibc
returns blocks above 32 MB, and the top of its heap above 64 MB, to the kernel, which then maps and
clears every page again in every step.
"""

import ctypes
import os
import sys
from collections.abc import Mapping

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEEP = 2**31 - 1
"""Bytes, the largest value of mallopt."""
OWN = ("MALLOC_", "GLIBC_TUNABLES")
"""Prefixes of the environment variables by which a user sets glibc's parameters."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory in this process, instead of returning it to the kernel, where possible.

    Return whether the parameters were set. The memory of the process then stays at its maximum.
    Other allocators (jemalloc, tcmalloc) and parameters set in the environment are left alone.
    """
    if sys.platform != "linux" or any(name.startswith(OWN) for name in environment):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all(mallopt(parameter, KEEP) for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
