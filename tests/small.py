"""A small config, training without output, and a run folder that another process holds."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from innflow.run.folder import claim


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


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold a run folder in a copy of this process, and yield a function that lets it go."""
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()

    def hold() -> None:
        with claim(folder):
            held.set()
            release.wait()

    def let_go() -> None:
        release.set()
        process.join(60)
        assert process.exitcode == 0

    process = context.Process(target=hold)
    process.start()
    try:
        assert held.wait(60)
        yield let_go
    finally:
        process.kill()
