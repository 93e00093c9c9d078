"""Finished runs, a worker for commands, and a folder for each case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tiny import TINY_ARM, TINY_MOONS, train

from chaos.sandbox import Sandbox, sandbox
from chaos.worker import Worker

# No progress bar: a refusal is one line, and the bar is drawn on the same stream.
QUIET = ("trainer.enable_progress_bar=false",)
MOONS = (*TINY_MOONS, "analysis=none", "model.hidden=[8]", *QUIET)


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Return the worker of this session."""
    worker = Worker(tmp_path_factory.mktemp("outputs"))
    yield worker
    worker.close()


@pytest.fixture
def case(worker: Worker, tmp_path: Path) -> Callable[[], AbstractContextManager[Sandbox]]:
    """Return `case()`, a sandbox as a context."""
    return lambda: sandbox(tmp_path / "sandbox", worker)


@pytest.fixture(scope="session")
def moons_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run on two moons without analyses."""
    run_dir = tmp_path_factory.mktemp("moons") / "run"
    train(run_dir, *MOONS)
    return run_dir


@pytest.fixture(scope="session")
def arm_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run on the arm."""
    run_dir = tmp_path_factory.mktemp("arm") / "run"
    train(run_dir, *TINY_ARM, "model.hidden=[8]", *QUIET)
    return run_dir
