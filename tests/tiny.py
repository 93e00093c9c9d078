"""Finished runs of two steps each, and the commands called from an empty folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from innflow.command import main as cli
from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.run.train import run
from innflow.system.signature import KEY, cache_folder, sign

# Two steps of everything, on images of 8x8 pixels.
TINY_IMAGES = (
    "+experiment=cats_ood",
    "+debug=fdr",
    "companions.general=null",
    *("data.size=8", "data.batch_size=8"),
    *("model.levels=2", "model.depth=1", "model.hidden=8", "precision=32"),
    *("analysis.scores.resamples=50", "analysis.samples.components=[2,4]"),
    *("analysis.latent_cloud.samples=20", "analysis.latent_cloud.components=4"),
)
TINY_MOONS = ("+experiment=moons", "+debug=fdr", "data.n=600", "data.n_test=40", "model.depth=2")
TINY_VECTORS = (
    *TINY_MOONS,
    *("analysis.density2d.resolution=60", "analysis.density2d.samples=100"),
)
TINY_ARM = (
    *("data=arm", "app=inverse", "partition=given_y", "latent=observed", "score=none"),
    *("analysis=none", "+debug=fdr", "model.depth=2"),
    *("data.n=600", "data.n_test=40", "data.batch_size=64", "data.cache_dir=null"),
)


def train(run_dir: Path, *overrides: str) -> dict[str, float]:
    """Do what innflow-train does, in this process and into this folder."""
    register_resolvers()
    cfg = compose_config("train", [*overrides, f"run_dir={run_dir}"])
    return run(to_plain(cfg), run_dir, list(overrides))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """Noise of more or less contrast: 40 training cats; 16 cats, 9 dogs and 7 balls in test."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    sets = {"train/cat": (40, 0), "val/cat": (16, 0), "val/dog": (9, 40), "val/ball": (7, 90)}
    for folder, (count, dark) in sets.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(rng.integers(dark, dark + 120), 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def image_run(photographs, tmp_path_factory) -> Path:
    """A finished run on the photographs."""
    folder = tmp_path_factory.mktemp("images")
    cache = f"data.cache_dir={folder / 'cache'}"
    train(folder / "run", *TINY_IMAGES, f"data.root={photographs}", cache)
    return folder / "run"


@pytest.fixture(scope="session")
def vector_run(tmp_path_factory) -> Path:
    """A finished run on two moons."""
    run_dir = tmp_path_factory.mktemp("vectors") / "run"
    train(run_dir, *TINY_VECTORS)
    return run_dir


@pytest.fixture(scope="session")
def inverse_run(tmp_path_factory) -> Path:
    """A finished run on the planar arm, with y as the context of its flow."""
    run_dir = tmp_path_factory.mktemp("arm") / "run"
    train(run_dir, *TINY_ARM)
    return run_dir


class Answer(NamedTuple):
    """What a command leaves on the terminal."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Command:
    """Return `command("innflow-train", *arguments)`, called from an empty folder of its own."""
    commands = {
        "innflow": cli.innflow,
        "innflow-train": cli.train,
        "innflow-eval": cli.evaluate,
        "innflow-sample": cli.sample,
        "innflow-score": cli.score,
        "innflow-posterior": cli.posterior,
        "innflow-compare": cli.compare,
        "innflow-export": cli.export,
        "innflow-serve": cli.serve,
        "innflow-explore": cli.explore,
        "innflow-new": cli.new,
    }
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("INNFLOW_STAMP", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    cache = tmp_path / "cache"
    cache.mkdir()
    sign()  # makes the key by which the runs of this session are recognised
    shutil.copy(cache_folder() / KEY, cache)
    monkeypatch.setenv("INNFLOW_CACHE", str(cache))

    def call(name: str, *arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.delenv("INNFLOW_STAMP", raising=False)
        capsys.readouterr()
        code = 0
        try:
            commands[name]()
        except SystemExit as exit:
            code = int(exit.code or 0)
        return Answer(code, *capsys.readouterr())

    return call
