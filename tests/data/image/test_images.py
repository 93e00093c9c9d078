from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from innflow.data.image import images as images_module
from innflow.data.image.images import Images, read_images
from innflow.errors import InnflowError

from data.conftest import write_noise


def opened(root, cache, **options) -> Images:
    data = Images(root, size=10, cache_dir=cache, **options)
    data.prepare_data()
    data.setup()
    return data


def test_layout_gives_roles_names_and_pixels(tree, tmp_path):
    sets = opened(tree, tmp_path / "cache", holdout=0.1).sets()
    roles = {name: (part.role, len(part)) for name, part in sets.items()}
    assert list(roles) == ["train", "val", "test", "ball", "dog"]
    assert roles == {
        "train": ("train", 36),
        "val": ("val", 4),
        "test": ("inlier", 10),
        "ball": ("outlier", 5),
        "dog": ("outlier", 6),
    }
    for part in sets.values():
        for name, x in zip(part.names, part.parts["x"], strict=True):
            original = np.asarray(Image.open(tree / name)).transpose(2, 0, 1)
            assert np.array_equal(x, original[:, 1:11])
    assert sets["dog"].names[0] == "val/dog/0.png"


def test_monitor_is_held_out_of_train_by_the_seed(tree, tmp_path):
    def monitor(seed):
        sets = opened(tree, tmp_path / "cache", holdout=0.2, seed=seed).sets()
        assert not set(sets["train"].names) & set(sets["val"].names)
        assert len(sets["train"]) + len(sets["val"]) == 40
        return sets["val"].names

    assert monitor(1) == monitor(1)
    assert monitor(1) != monitor(2)


def test_images_are_decoded_once(tree, tmp_path, monkeypatch):
    first = opened(tree, tmp_path / "cache")
    monkeypatch.setattr(images_module, "decode", lambda *_: pytest.fail("decoded again"))
    again = opened(tree, tmp_path / "cache")
    assert torch.equal(again.sets()["test"].parts["x"], first.sets()["test"].parts["x"])
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write_noise(root / "val/dog/0.png", 999),
        lambda root: (root / "val/dog/0.png").unlink(),
        lambda root: write_noise(root / "val/dog/new.png", 999),
        lambda root: os.utime(root / "val/dog/0.png", (1, 1)),
    ],
    ids=["another picture", "one less", "one more", "touched"],
)
def test_a_changed_root_is_decoded_again(tree, tmp_path, change):
    opened(tree, tmp_path / "cache")
    change(tree)
    data = opened(tree, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    for name, x in zip(data.sets()["dog"].names, data.sets()["dog"].parts["x"], strict=True):
        assert np.array_equal(x.permute(1, 2, 0), np.asarray(Image.open(tree / name))[1:11])


def test_a_truncated_cache_is_made_again(tree, tmp_path):
    first = opened(tree, tmp_path / "cache").sets()["test"].parts["x"].clone()
    (pixels,) = (tmp_path / "cache").glob("*.u8")
    with pixels.open("r+b") as file:
        file.truncate(100)
    assert torch.equal(opened(tree, tmp_path / "cache").sets()["test"].parts["x"], first)


def test_size_and_channels_are_part_of_the_cache(tree, tmp_path):
    for channels in (1, 3):
        data = Images(tree, size=6, channels=channels, cache_dir=tmp_path / "cache")
        assert data.shape == (channels, 6, 6)
        assert data.sets()["test"].parts["x"].shape == (10, channels, 6, 6)


def test_hidden_files_and_other_kinds_are_ignored(tree, tmp_path):
    (tree / "train/cat/.hidden.png").write_bytes(b"x")
    (tree / "train/.git").mkdir()
    (tree / "train/.git/a.png").write_bytes(b"x")
    (tree / "train/cat/notes.txt").write_text("x")
    (tree / "train/cat/Thumbs.db").write_bytes(b"x")
    data = opened(tree, tmp_path / "cache")
    assert len(data.sets()["train"]) + len(data.sets()["val"]) == 40


def test_linked_folders_are_followed(tree, tmp_path):
    linked = tmp_path / "linked"
    (linked / "train").mkdir(parents=True)
    (linked / "train/cat").symlink_to(tree / "train/cat")
    (linked / "test").symlink_to(tree / "test")
    assert len(opened(linked, tmp_path / "cache").sets()["dog"]) == 6


def test_damaged_files_are_named_counted_and_skipped(tree, tmp_path, caplog):
    whole = (tree / "train/cat/00.png").read_bytes()
    (tree / "train/cat/cut.png").write_bytes(whole[: len(whole) // 2])
    (tree / "val/cat/text.jpg").write_text("no image at all")
    for _ in range(2):  # decoded, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sets = opened(tree, tmp_path / "cache").sets()
        assert "skipped 2 of 63 images" in caplog.text
        assert "train/cat/cut.png" in caplog.text
        assert "val/cat/text.jpg: not an image" in caplog.text
        assert len(sets["test"]) == 10
        assert "val/cat/text.jpg" not in sets["test"].names


def test_more_than_five_percent_stop_and_leave_nothing(tree, tmp_path):
    for i in range(4):
        (tree / f"val/dog/bad{i}.jpg").write_bytes(b"bad")
    with pytest.raises(InnflowError, match=r"more than 5% of 65 images.*val/dog/bad0.jpg"):
        opened(tree, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_some_classes_only(tree, tmp_path):
    for i in range(8):
        write_noise(tree / f"train/lion/{i}.png", i)
    write_noise(tree / "val/lion/0.png")
    both = opened(tree, tmp_path / "cache").sets()
    assert len(both["train"]) + len(both["val"]) == 48
    assert len(both["test"]) == 11
    cats = opened(tree, tmp_path / "cache", inliers=["cat"]).sets()
    assert len(cats["train"]) + len(cats["val"]) == 40
    assert len(cats["test"]) == 10
    assert cats["lion"].role == "outlier"
    with pytest.raises(InnflowError, match=r"train/tiger.*cat, lion"):
        opened(tree, tmp_path / "cache", inliers=["tiger"])


@pytest.mark.parametrize("source", ["train/cat/tabby", "train/cat"])
def test_a_plain_folder_is_all_inliers(tree, tmp_path, caplog, source):
    with caplog.at_level(logging.INFO):
        sets = opened(tree / source, tmp_path / "cache").sets()
    total = len(list((tree / source).rglob("*.png")))
    assert list(sets) == ["train", "val", "test"]
    assert len(sets["test"]) == total // 10
    assert sum(map(len, sets.values())) == total
    assert len({name for part in sets.values() for name in part.names}) == total
    assert f"{total // 10} of the training images are tested on" in caplog.text


def test_without_val_a_tenth_of_train_is_tested_on(tree, tmp_path, caplog):
    shutil.rmtree(tree / "test")
    write_noise(tree / "more/cat/0.png")
    with caplog.at_level(logging.INFO):
        sets = opened(tree, tmp_path / "cache").sets()
    assert len(sets["test"]) == 4
    assert "1 images outside train/ and val/ are not used" in caplog.text


def test_places_without_images(tree, tmp_path):
    def message(root):
        with pytest.raises(InnflowError) as caught:
            opened(root, tmp_path / "cache")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"{tmp_path}/nowhere does not exist" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in message(tmp_path / "empty")
    (tmp_path / "empty/notes.txt").write_text("x")
    assert "empty holds no images" in message(tmp_path / "empty")
    (tmp_path / "pictures.tar").write_text("x")
    assert "pictures.tar is a file" in message(tmp_path / "pictures.tar")
    assert "is a file" in message(tree / "train/cat/00.png")
    shutil.rmtree(tree / "train")
    assert "expected ROOT/train/<class>" in message(tree)
    assert not (tmp_path / "cache").exists()


def test_outliers_by_a_name_that_is_taken(tree, tmp_path):
    write_noise(tree / "val/monitor/0.png")
    with pytest.raises(InnflowError, match="val/monitor"):
        opened(tree, tmp_path / "cache")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 0}, "data.size=0"),
        ({"size": "large"}, "data.size=large"),
        ({"channels": 2}, "data.channels=2"),
        ({"augment": ["flop"]}, "flip, zoom, shear, rotate"),
        ({"holdout": 1}, "data.holdout=1"),
        ({"root": None}, "data.root"),
    ],
)
def test_wrong_settings_stop_before_any_data_are_touched(options, says):
    with pytest.raises(InnflowError, match=says):
        Images(**{"root": "/nowhere", "cache_dir": "/nowhere"} | options)


def test_read_images(tree):
    (tree / "val/cat/bad.jpg").write_text("x")
    x, names, skipped = read_images(tree, 10, 3)
    assert x.shape == (61, 3, 10, 10)
    assert x.dtype == torch.uint8
    assert skipped == ["val/cat/bad.jpg: not an image"]
    i = names.index("val/dog/3.png")
    assert np.array_equal(x[i].permute(1, 2, 0), np.asarray(Image.open(tree / names[i]))[1:11])

    x, names, skipped = read_images(tree / "val/dog/3.png", 10, 1)
    assert x.shape == (1, 1, 10, 10)
    assert names == ["3.png"]
    with pytest.raises(InnflowError, match="cannot be decoded"):
        read_images(tree / "val/cat/bad.jpg", 10, 3)
    with pytest.raises(InnflowError, match="does not exist"):
        read_images(tree / "nowhere", 10, 3)
