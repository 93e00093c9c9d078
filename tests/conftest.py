"""What every test starts from, and how a refusal is checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from innflow import cli
from innflow.config import compose_config, register_resolvers, to_plain
from innflow.errors import InnflowError
from innflow.run import run

# Two steps of everything, on images of 8x8 pixels.
TINY_IMAGES = (
    "+experiment=cats_ood",
    "+debug=fdr",
    *("data.size=8", "data.batch_size=8"),
    *("model.levels=2", "model.depth=1", "model.hidden=8", "trainer.precision=32-true"),
    *("analysis.scores.resamples=50", "analysis.samples.components=[2,4]"),
    *("analysis.latent_cloud.samples=20", "analysis.latent_cloud.components=4"),
)
TINY_VECTORS = ("+experiment=moons", "+debug=fdr", "data.n=600", "data.n_val=40", "model.depth=2")

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _seeded():
    """Give every test the same random numbers, alone or in company."""
    torch.manual_seed(0)


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


def train(run_dir: Path, *overrides: str) -> dict[str, float]:
    """Do what innflow-train does, in this process and into this folder."""
    register_resolvers()
    cfg = compose_config("train", [*overrides, f"run_dir={run_dir}"])
    return run(to_plain(cfg), run_dir, list(overrides))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """40 training cats of noise; 16 cats, 9 brighter dogs and 7 flat balls in val."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    sets = {"train/cat": (40, 0), "val/cat": (16, 0), "val/dog": (9, 60), "val/ball": (7, 255)}
    for folder, (count, least) in sets.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(least, 256, (8, 8, 3), dtype=np.uint8)
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
        "innflow-train": cli.train,
        "innflow-eval": cli.evaluate,
        "innflow-sample": cli.sample,
        "innflow-score": cli.score,
    }
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("INNFLOW_STAMP", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("INNFLOW_CACHE", str(tmp_path / "cache"))

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
