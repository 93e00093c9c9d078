"""Fixtures of all tests: refusals, a small config, a small trained run; the marker of combinations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from innflow.data.toy.clouds import Toy
from innflow.errors import InnflowError
from innflow.run.checkpoint import assemble

pytest_plugins = ["tiny"]

Refused = Callable[..., AbstractContextManager[None]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as extended each combination that `representatives` does not name."""
    groups: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("representatives"):
            groups.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, group in groups.items():
        marker = group[0].get_closest_marker("representatives")
        assert marker is not None
        found = {item.callspec.id for item in group}
        if len(group) > 1 and (missing := set(marker.args) - found):
            raise pytest.UsageError(f"{name}: no combination is called {sorted(missing)}")
        for item in group:
            if item.callspec.id not in marker.args:
                item.add_marker(pytest.mark.extended)


@pytest.fixture(autouse=True)
def _short_wait_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loaders that a test abandons wait half a second for their workers, not five."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)


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


def plain_config() -> dict[str, Any]:
    """Return the nodes of a config from which an application on vectors is assembled."""
    return {
        "seed": 0,
        "partition": {"left": {"x": "data"}, "right": {"z": "rest"}},
        "app": {"_target_": "innflow.app.Density", "_partial_": True},
        "model": {
            "_target_": "innflow.flow.vector",
            "_partial_": True,
            "depth": 2,
            "hidden": [8],
            "coupling": {"_target_": "innflow.flow.Spline", "bins": 4, "tail": 4.0},
            "subnet": {"_target_": "innflow.flow.MLP", "_partial_": True},
        },
        "latent": {"z": {"_target_": "innflow.latent.StandardNormal"}},
        "objective": {"_target_": "innflow.objective.Objective", "terms": None, "weights": None},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
        "schedule": {"_target_": "innflow.app.cosine", "warmup": 0.1},
        "score": {
            "_target_": "innflow.score.Scorer",
            "headline": "likelihood",
            "scores": {"likelihood": {"_target_": "innflow.score.Likelihood"}},
        },
    }


@pytest.fixture
def config() -> dict[str, Any]:
    """Return a fresh copy of the small config, to be spoilt at will."""
    return plain_config()


def train_quietly(
    app: pl.LightningModule,
    data: pl.LightningDataModule,
    ckpt_path: Path | None = None,
    **options: Any,
) -> pl.Trainer:
    """Train an application on the CPU; draw nothing, and write only what is asked for."""
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    silent |= {"enable_checkpointing": False, "num_sanity_val_steps": 0, "max_epochs": -1}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*is deprecated.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        trainer = pl.Trainer(accelerator="cpu", devices=1, **(silent | options))
        trainer.fit(app, datamodule=data, ckpt_path=ckpt_path)
    return trainer


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
