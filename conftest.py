"""Random seeds of all tests, and an empty working directory for each doctest."""

from __future__ import annotations

import os

# Set before torch is imported: a process forked after torch has started threads can hang.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed the generators of torch and numpy, so that a test does not depend on earlier ones."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _example(request: pytest.FixtureRequest) -> None:
    """Run a doctest in a temporary folder, with torch imported."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("doctest_namespace")["torch"] = torch
        folder = request.getfixturevalue("tmp_path")
        request.getfixturevalue("monkeypatch").chdir(folder)
