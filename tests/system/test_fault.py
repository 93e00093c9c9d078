"""Errors of the machine and of libraries become one line; a bug does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing import ProcessExitedException

from innflow.system.explain import explain, is_lost_rank, note

CLOSED = "[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:21877"


def raised(act) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        act()
    return caught.value


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: torch.empty(10**14), "out of memory (tried to allocate 400000000000000 bytes): "),
        (lambda: np.ones(10**14), "out of memory (Unable to allocate 728. TiB): lower data.batch_"),
        (Path("a" * 300).read_bytes, f"{'a' * 300}: File name too long; choose a shorter name"),
        (Path("no/such").read_bytes, "no/such: No such file or directory; it was removed, or "),
        (lambda: Path("no").rename("such"), "no -> such: No such file or directory"),
    ],
)
def test_what_the_system_refuses_is_one_line(act, says):
    assert explain(raised(act)).startswith(says)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"), "2.00 G"),
        (RuntimeError(CLOSED), "another rank ended, and training with it"),
        (torch.distributed.DistBackendError("NCCL error"), "another rank ended"),
        (ProcessExitedException("", 1, 42, -9, "SIGKILL"), "rank 1 ended by SIGKILL"),
        (MisconfigurationException("bad\n  value"), "trainer: bad value"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "data.workers"),
    ],
)
def test_what_libraries_raise_is_one_line(error, says):
    note(error, "continues from step 3")
    line = explain(error)
    assert says in line
    assert line.endswith("; continues from step 3")
    assert "\n" not in line


@pytest.mark.parametrize("bug", [KeyError("y"), RuntimeError("shapes"), TypeError("memory")])
def test_a_bug_keeps_its_traceback(bug):
    assert explain(bug) is None
    assert not is_lost_rank(bug)
