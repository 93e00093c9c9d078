"""Companions of a run: loaded, frozen, copied into its folder, and compared with in training."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tiny import TINY_IMAGES, TINY_MOONS, train

import innflow
from innflow.run.checkpoint import find_checkpoint
from innflow.run.load import COMPANIONS

BARE = (*(key for key in TINY_IMAGES if not key.startswith("analysis.")), "analysis=none")


@pytest.fixture(scope="module")
def beside_run(image_run, photographs, tmp_path_factory):
    """A run that started from another, with that one beside it and its general set in the loss."""
    folder = tmp_path_factory.mktemp("companions")
    general = folder / "general"
    general.mkdir()
    for file in (photographs / "train" / "cat").iterdir():
        ImageOps.flip(Image.open(file)).save(general / file.name)
    train(
        folder / "run",
        *BARE,
        f"data.root={photographs}",
        f"data.cache_dir={folder / 'cache'}",
        f"data.general={general}",
        f"companions.general={image_run}",
        f"init={image_run}",
        "objective=outlier",
    )
    return folder / "run"


def test_a_run_keeps_its_companions(beside_run, image_run, tmp_path):
    copy = torch.load(beside_run / COMPANIONS / "general.ckpt", weights_only=True)
    original = torch.load(find_checkpoint(image_run), weights_only=True)
    assert copy.keys() == {"state_dict", "innflow"}  # without the state of its training
    assert copy["innflow"] == original["innflow"]
    moved = tmp_path / "moved"
    shutil.copytree(beside_run, moved)
    app = innflow.load(moved)
    x = torch.randint(256, (3, 3, 8, 8))
    terms = app.measure(x).companions["general"]
    assert torch.allclose(terms.sum(dim=1), innflow.load(image_run).log_prob(x))


def test_companions_are_frozen_and_no_part_of_the_weights(beside_run, image_run):
    general, original = innflow.load(beside_run).companions["general"], innflow.load(image_run)
    for key, value in original.state_dict().items():
        assert torch.equal(value, general.state_dict()[key])
    checkpoint = torch.load(find_checkpoint(beside_run), weights_only=True)
    assert set(checkpoint["state_dict"]) == set(original.state_dict())


def test_init_starts_from_the_weights_of_the_run(image_run, photographs, tmp_path):
    train(
        tmp_path / "run",
        *BARE,
        f"data.root={photographs}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"init={image_run}",
        "optimizer.lr=1e-12",
    )
    before, after = (
        innflow.load(image_run).state_dict(),
        innflow.load(tmp_path / "run").state_dict(),
    )
    assert all(torch.allclose(before[key].float(), after[key].float()) for key in before)


def test_a_companion_gives_the_likelihood_of_the_same_parts_without_gradient(image_run):
    app = innflow.load(image_run)
    app.companions["general"] = innflow.load(image_run)
    noise = torch.Generator().manual_seed(0)
    step = app.compute_step({"x": torch.randint(256, (3, 3, 8, 8))}, noise)
    # The same weights and the same noise: the ratio is nothing but rounding.
    said = step.companions["general"]()
    assert torch.allclose(said, step.log_prob, atol=1e-3)
    assert not said.requires_grad


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        (("companions.general=nowhere",), ("companions.general", "nowhere")),
        (("companions.general=3",), ("companions.general=3", "folder of a run")),
        (("init=nowhere",), ("init", "nowhere")),
        (("objective=outlier",), ("data.general=DIR",)),
        (("objective=margin",), ("data.general=DIR",)),
        (("score=ratio",), ("companions.general=DIR",)),
        (("score=ensemble",), ("companions.NAME=DIR",)),
    ],
)
def test_what_is_missing_is_named_before_anything_is_written(
    refused, photographs, tmp_path, overrides, fragments
):
    with refused(*fragments):
        train(
            tmp_path / "run",
            *BARE,
            f"data.root={photographs}",
            f"data.cache_dir={tmp_path / 'cache'}",
            *overrides,
        )
    assert not (tmp_path / "run").exists()


def test_other_models_are_refused(refused, image_run, vector_run, photographs, tmp_path):
    common = (*BARE, f"data.root={photographs}", f"data.cache_dir={tmp_path / 'cache'}")
    with refused("init=", "differs from this one"):
        train(tmp_path / "run", *common, f"init={image_run}", "model.hidden=9")
    with refused("companions.general=", "not of data like"):
        train(tmp_path / "run", *common, f"companions.general={vector_run}")
    assert not (tmp_path / "run").exists()


@pytest.mark.extended
def test_scores_of_a_ratio_are_in_the_table(beside_run, photographs, tmp_path, command):
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    out = tmp_path / "eval"
    answer = command(
        *("innflow-eval", f"run={beside_run}", f"out={out}", f"data.root={photographs}", cache),
        *("score=ratio", "analysis=ood", "analysis.scores.resamples=20", "data.general=null"),
        *("analysis.samples=null", "analysis.latent_cloud=null", "analysis.roundtrip=null"),
        *("analysis.interpolation=null", "analysis.training=null"),
    )
    assert answer.code == 0, answer.err
    with (out / "scores.csv").open() as file:
        table = list(csv.DictReader(file))
    ratio = np.array([float(row["ratio"]) for row in table])
    assert np.isfinite(ratio).all()
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 <= metrics["ood/ratio/dog/auroc"] <= 1


def test_vectors_have_companions_too(vector_run, tmp_path):
    train(tmp_path / "run", *TINY_MOONS, f"companions.general={vector_run}", "analysis=none")
    app = innflow.load(tmp_path / "run")
    assert app.measure(torch.zeros(2, 2)).companions["general"].shape == (2, 1)
