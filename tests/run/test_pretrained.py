"""Pretrained flows: listed, loaded, checked, and used by the commands."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY_IMAGES, train

import innflow
from experiments.pretrained.__main__ import RECIPES, describe, main
from innflow.app.program import list_left_out, make_programs
from innflow.config import resolvers
from innflow.config.build import compose_config, to_plain
from innflow.config.places import confine
from innflow.run import pretrained
from innflow.run.attached import attach_files
from innflow.run.checkpoint import find_checkpoint, read_checkpoint
from innflow.run.load import COMPANIONS
from innflow.run.report import headline
from innflow.run.report.headline import suggest_features

BARE = (*(key for key in TINY_IMAGES if not key.startswith(("analysis.", "companions."))),)
MOST = 15 * 2**20
GENERAL_FEATURES = sorted(pretrained.FOLDER.glob("general_features.*"))


@pytest.fixture
def tiny(image_run, tmp_path, monkeypatch):
    """The folder of the package with a flow for images of 8x8 pixels, `tiny8`, alone."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    checkpoint = read_checkpoint(find_checkpoint(image_run))
    pretrained.pack(checkpoint, folder / "tiny8.safetensors", {"data": "noise"})
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return folder


def rewrite(folder, change) -> None:
    """Change the stored description of `tiny8`, and its checksum."""
    path, card = folder / "tiny8.safetensors", folder / "tiny8.json"
    own = read_checkpoint(path)["innflow"]
    change(own)
    save_file(load_file(path), path, {"innflow": json.dumps(own), "extra_state": "{}"})
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": checksum}))


def test_the_flows_of_the_package_are_whole_and_small():
    names = innflow.pretrained.names()
    assert set(names) <= set(RECIPES)
    assert {"digits8", "drawn32", "general32"} <= set(names)
    assert sum(path.stat().st_size for path in pretrained.FOLDER.iterdir()) < MOST
    for name in names:
        assert innflow.pretrained.load(name).shape


@pytest.mark.parametrize("name", innflow.pretrained.names())
def test_a_card_states_origin_numbers_and_limits(name):
    card = innflow.pretrained.card(name)
    for key in ("data", "licence", "not_for", "command", "innflow", "hardware"):
        assert isinstance(card[key], str), key
        assert card[key], key
        assert "/" not in card[key].replace("outputs/", ""), key
    assert card["command"].startswith("innflow-train +experiment=")
    assert card["minutes"] > 0
    assert card["seed"] >= 0
    assert card["format"] == innflow.app.module.FORMAT
    assert all(np.isfinite(value) for value in card["metrics"].values())
    assert {"test/bpd", "test/nll", "posterior/c2st"} & card["metrics"].keys()


def test_a_packed_flow_is_the_flow_of_the_run(tiny, image_run):
    app, original = innflow.pretrained.load("tiny8"), innflow.load(image_run)
    x = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(app.log_prob(x), original.log_prob(x))
    assert torch.equal(innflow.load("pretrained:tiny8").log_prob(x), original.log_prob(x))
    stored = (tiny / "tiny8.safetensors").read_bytes()
    assert b"/tmp" not in stored
    assert str(image_run.parent).encode() not in stored


def test_an_unknown_name_is_answered_with_the_closest(tiny, refused):
    with refused("pretrained:tinny8 is unknown", "did you mean tiny8"):
        innflow.pretrained.load("tinny8")
    with refused("pretrained:big is unknown"):
        innflow.pretrained.card("big")


def test_a_damaged_file_is_refused(tiny, refused):
    path = tiny / "tiny8.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with refused(str(path), "damaged", "checksum"):
        innflow.load("pretrained:tiny8")
    (tiny / "tiny8.json").unlink()
    with refused(str(path), "card tiny8.json is missing"):
        innflow.load("pretrained:tiny8")


def test_a_file_of_another_version_is_refused(tiny, refused):
    rewrite(tiny, lambda own: own.update(format=99))
    with refused("tiny8.safetensors", "in format 99"):
        innflow.load("pretrained:tiny8")


def test_a_file_of_another_kind_is_refused(tiny, refused):
    rewrite(tiny, lambda own: own.pop("shapes"))
    with refused("tiny8.safetensors", "innflow.shapes", "wrong kind"):
        innflow.load("pretrained:tiny8")


def test_cats_ood_starts_from_a_pretrained_flow_and_compares_with_it(
    tiny, photographs, tmp_path, command
):
    for path in GENERAL_FEATURES:
        shutil.copy(path, tiny)
    run = tmp_path / "run"
    answer = command(
        *("innflow-train", *BARE, "analysis.samples=null", "analysis.latent_cloud=null"),
        *("analysis.roundtrip=null", "analysis.interpolation=null", f"run_dir={run}"),
        *(f"data.root={photographs}", "companions.general=pretrained:tiny8"),
        "optimizer.lr=1e-4",
    )
    assert answer.code == 0, answer.err
    line = (
        "headline score: combined of ratio and last scale ratio to it, "
        "feature ratio to pretrained:general_features"
    )
    assert "starts from pretrained:tiny8; " in answer.out
    assert line in answer.out
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["ood/combined/mean/auroc"] <= 1
    assert 0 <= metrics["ood/feature_ratio/mean/auroc"] <= 1
    page = (run / "report.html").read_text()
    assert line in page
    app = innflow.load(run)
    before = innflow.pretrained.load("tiny8").state_dict()
    after, companion = app.state_dict(), app.companions["general"].state_dict()
    assert all(torch.equal(before[key], companion[key]) for key in before)
    assert all(torch.allclose(before[k].float(), after[k].float(), atol=1e-3) for k in before)
    shutil.rmtree(tiny)  # the run folder is complete without the package's
    loaded = innflow.load(run)
    assert loaded.companions.keys() == {"features", "general"}
    kept = sorted(path.name for path in (run / COMPANIONS).iterdir())
    assert kept == ["features.ckpt", "general.ckpt"]
    with (run / "scores.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["set"] == "dog")
    found = loaded.score(photographs / row["path"])
    for name in ("score", "p_value", "feature_ratio"):
        np.testing.assert_allclose(found[name], float(row[name]), rtol=1e-3)
    assert list_left_out(loaded) == ["score", "p_value", "feature_ratio", "combined"]
    program = make_programs(loaded)["score"]
    with torch.no_grad():
        exported = program.module(*program.inputs.values())
    x = program.inputs["x"]
    np.testing.assert_allclose(exported["ratio"], loaded.score(x)["ratio"], rtol=1e-3, atol=1e-3)
    assert not exported.keys() & {"score", "feature_ratio"}


@pytest.mark.parametrize(("name", "kind"), [("../x.npz", torch.uint8), ("x.npz", torch.float32)])
def test_attached_files_that_are_no_bytes_or_lie_elsewhere_are_refused(
    name, kind, image_run, tmp_path, refused
):
    files = {name: torch.zeros(3, dtype=kind)}
    torch.save({**attach_files(image_run, []), "files": files}, tmp_path / "a.ckpt")
    with refused("a.ckpt: files", "must be the bytes of an .npz file"):
        innflow.load(tmp_path / "a.ckpt")


def test_a_detector_on_features_scores_pictures():
    pictures = np.random.default_rng(0).integers(256, size=(3, 40, 50, 3), dtype=np.uint8)
    app = innflow.pretrained.load("cats_features")
    found = app.score(pictures)
    np.testing.assert_allclose(found["score"], -app.log_prob(pictures).numpy(), rtol=1e-4)
    assert (found["p_value"] < 0.2).all()  # noise is no cat
    assert app.scorer.calibration_items == 500


def test_without_their_packages_features_are_left_out_with_a_line(monkeypatch):
    arguments = ("+experiment=cats_ood", "data.root=DIR")
    with_them = to_plain(compose_config("train", [*arguments, "run_dir=run"]))
    assert with_them["companions"]["features"] == "pretrained:general_features"
    assert with_them["score"]["scores"]["combined"]["scores"][-1] == "feature_ratio"
    assert suggest_features(with_them) == ""
    for module in (resolvers, headline):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    without = to_plain(compose_config("train", [*arguments, "run_dir=run"]))
    assert without["companions"]["features"] is None
    assert without["score"]["scores"]["combined"]["scores"] == ["ratio", "last_scale_ratio"]
    assert "pip install 'innflow[embeddings]'" in suggest_features(without)
    drawn = to_plain(compose_config("train", ["+experiment=cats_ood", "run_dir=run"]))
    assert suggest_features(drawn) == ""


def test_a_pretrained_companion_is_no_place_outside_of_a_run_folder(tmp_path, refused):
    with_it, other = ({"companions": {"general": name}} for name in ("pretrained:tiny8", "/other"))
    assert confine(with_it, "config.yaml", tmp_path, None) == with_it
    with refused("companions.general=/other"):
        confine(other, "config.yaml", tmp_path, None)


def test_a_pretrained_flow_is_sampled(tiny, tmp_path, command):
    answer = command("innflow-sample", "run=pretrained:tiny8", "n=2", f"out={tmp_path / 'out'}")
    assert answer.code == 0, answer.err
    assert (tmp_path / "out" / "1.png").is_file()


def test_a_flow_of_another_size_is_refused(tiny, refused, photographs, tmp_path):
    common = ("+experiment=cats_ood", f"data.root={photographs}", "data.batch_size=8")
    with refused("companions.general", "companions.general=null"):
        train(tmp_path / "run", *common, "companions.general=pretrained:tiny8", "data.size=16")


def test_a_run_is_packed_with_its_card(image_run, tmp_path):
    main(["pack", "general32", f"run={image_run}", f"to={tmp_path}"])
    card = json.loads((tmp_path / "general32.json").read_text())
    assert "data.root=DIR" in card["command"]
    assert "run_dir" not in card["command"]
    assert card["metrics"]["test/bpd"] > 0
    assert card == {**card, **json.loads(json.dumps(describe("general32", image_run)))}
    assert str(tmp_path.parent) not in json.dumps(card)
    assert innflow.load(tmp_path / "general32.safetensors").shape == (3, 8, 8)


def test_the_extra_state_of_modules_is_packed(inverse_run, tmp_path):
    original = innflow.load(inverse_run)
    checkpoint = read_checkpoint(find_checkpoint(inverse_run))
    pretrained.pack(checkpoint, tmp_path / "arm.safetensors", {})
    packed = innflow.load(tmp_path / "arm.safetensors")
    assert packed.latent["y"].get_extra_state() == original.latent["y"].get_extra_state()
    ours, theirs = (app.misspecification.get_extra_state() for app in (packed, original))
    assert len(theirs["distances"])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("words", [[], ["make"], ["pack", "nothing"], ["pack", "digits8", "x=1"]])
def test_words_that_are_no_action_are_refused(words, refused):
    with refused("pretrained:", "run=DIR"):
        main(words)
