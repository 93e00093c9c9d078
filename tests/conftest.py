"""Fixtures of all tests, and the marker `representatives`."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from small import plain_config, train_quietly
from torch.utils.data import _utils

from innflow.data.toy.clouds import Toy
from innflow.errors import InnflowError
from innflow.run.load import assemble

pytest_plugins = ["tiny"]

Refused = Callable[..., AbstractContextManager[None]]


# Seconds that a loader waits for its workers where a test abandons it; torch waits for five.
_utils.MP_STATUS_CHECK_INTERVAL = 0.5


def pytest_collection_finish() -> None:
    """Leave all that the imports have made out of later garbage collections (6% of the time)."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as extended each combination that `representatives` does not name."""
    groups: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("representatives"):
            groups.setdefault(item.nodeid.partition("[")[0], []).append(item)
    whole = not any("[" in argument for argument in config.args)
    for name, group in groups.items():
        marker = group[0].get_closest_marker("representatives")
        assert marker is not None
        for pattern in marker.args:
            if whole and not any(fnmatchcase(item.callspec.id, pattern) for item in group):
                raise pytest.UsageError(f"{name}: no combination is called {pattern}")
        for item in group:
            if not any(fnmatchcase(item.callspec.id, pattern) for pattern in marker.args):
                item.add_marker(pytest.mark.extended)


@pytest.fixture(autouse=True)
def environment_restored() -> Iterator[None]:
    """Restore the variables of the environment, which the commands of later tests inherit."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def refused() -> Refused:
    """Return `refused(*fragments)`: the block raises one line that holds all the fragments."""

    @contextmanager
    def check(*fragments: str) -> Iterator[None]:
        with pytest.raises(InnflowError) as caught:
            yield
        line = str(caught.value)
        assert "\n" not in line
        assert all(fragment in line for fragment in fragments), line

    return check


@pytest.fixture
def config() -> dict[str, Any]:
    """Return a fresh copy of the small config, to be spoilt at will."""
    return plain_config()


@pytest.fixture
def fit() -> Callable[..., pl.Trainer]:
    """Return `fit(app, data, **options of the trainer)`."""
    return train_quietly


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of a few steps, with best.ckpt and last.ckpt."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    app = assemble(plain_config(), {"x": (2,)})
    keep = ModelCheckpoint(folder / "checkpoints", "best", monitor="val/nll", save_last=True)
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    train_quietly(app, data, max_steps=4, callbacks=[keep], enable_checkpointing=True)
    return folder
