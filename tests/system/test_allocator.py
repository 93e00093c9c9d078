"""Freed memory is kept by the process, unless the user has set otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from innflow.system.allocator import keep_freed_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")

FAULTS = """
import resource, sys, torch
from innflow.system.allocator import keep_freed_memory

def step():
    kept = [torch.ones(2**18 * size) for size in (3, 9, 50, 4, 17)]  # 1 to 50 MiB

assert keep_freed_memory() is (sys.argv[1] == "keeps")
for _ in range(10):  # until the heap has found its shape
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str, **environment: str) -> int:
    """Return how often the kernel had to give a page to five equal steps."""
    command = [sys.executable, "-c", FAULTS, what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@linux
@pytest.mark.extended
def test_steps_use_again_what_the_one_before_has_freed():
    assert faults("keeps") < faults("leaves", MALLOC_ARENA_MAX="8") / 10


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_CONF", "GLIBC_TUNABLES"])
def test_a_choice_of_the_user_stays(name):
    assert not keep_freed_memory({name: "1", "HOME": "/"})


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory({})
