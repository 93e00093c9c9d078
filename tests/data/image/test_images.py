from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.conftest import write_noise
from innflow.data.image import storage
from innflow.data.image.images import Images
from innflow.data.image.storage import read_images
from innflow.errors import InnflowError


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
    assert sets["dog"].names[0] == "test/dog/0.png"


def test_val_is_held_out_of_train_by_the_seed(tree, tmp_path):
    def held_out(seed):
        sets = opened(tree, tmp_path / "cache", holdout=0.2, seed=seed).sets()
        assert not set(sets["train"].names) & set(sets["val"].names)
        assert len(sets["train"]) + len(sets["val"]) == 40
        return sets["val"].names

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_images_are_decoded_once(tree, tmp_path, monkeypatch):
    first = opened(tree, tmp_path / "cache")
    monkeypatch.setattr(storage, "decode", lambda *_: pytest.fail("decoded again"))
    again = opened(tree, tmp_path / "cache")
    assert torch.equal(again.sets()["test"].parts["x"], first.sets()["test"].parts["x"])
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write_noise(root / "test/dog/0.png", 999),
        lambda root: (root / "test/dog/0.png").unlink(),
        lambda root: write_noise(root / "test/dog/new.png", 999),
        lambda root: os.utime(root / "test/dog/0.png", (1, 1)),
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
    (pixels,) = (tmp_path / "cache").glob("*.raw")
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
    (tree / "test/cat/text.jpg").write_text("no image at all")
    for _ in range(2):  # decoded, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sets = opened(tree, tmp_path / "cache").sets()
        assert "skipped 2 of 63 images" in caplog.text
        assert "train/cat/cut.png" in caplog.text
        assert "test/cat/text.jpg: not an image" in caplog.text
        assert len(sets["test"]) == 10
        assert "test/cat/text.jpg" not in sets["test"].names


def test_more_than_five_percent_stop_and_leave_nothing(tree, tmp_path):
    for i in range(4):
        (tree / f"test/dog/bad{i}.jpg").write_bytes(b"bad")
    with pytest.raises(InnflowError, match=r"more than 5% of 65 images.*test/dog/bad0.jpg"):
        opened(tree, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_some_classes_only(tree, tmp_path):
    for i in range(8):
        write_noise(tree / f"train/lion/{i}.png", 400 + i)
    write_noise(tree / "test/lion/0.png", 500)
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
def test_a_plain_folder_is_all_inliers(tree, tmp_path, capsys, source):
    sets = opened(tree / source, tmp_path / "cache").sets()
    total = len(list((tree / source).rglob("*.png")))
    assert list(sets) == ["train", "val", "test"]
    assert len(sets["test"]) == round(total / 3)  # few images: a third
    assert sum(map(len, sets.values())) == total
    assert len({name for part in sets.values() for name in part.names}) == total
    line = "no test/, so 33% of the training images, chosen at random, become the test set"
    assert capsys.readouterr().out == f"{tree / source}: {line}\n"


def test_without_a_test_folder_a_third_of_a_small_train_is_the_test_set(tree, tmp_path, capsys):
    shutil.rmtree(tree / "test")
    write_noise(tree / "more/cat/0.png")
    sets = opened(tree, tmp_path / "cache").sets()
    assert len(sets["test"]) == 13
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{tree}: no test/, so 33% of the training images, chosen at random, become the test set",
        f"{tree}: 1 images outside train/, val/ and test/ are not used",
    ]


def test_train_val_and_test_folders_are_the_three_sets(tree, tmp_path, capsys):
    for i in range(7):
        write_noise(tree / f"val/cat/{i}.png", 400 + i)
    for i in range(3):
        write_noise(tree / f"val/fox/{i}.png", 500 + i)
    sets = opened(tree, tmp_path / "cache").sets()
    assert {name: len(part) for name, part in sets.items()} == {
        "train": 40,
        "val": 7,
        "test": 10,
        "ball": 5,
        "dog": 6,
    }
    assert sets["val"].names == [f"val/cat/{i}.png" for i in range(7)]
    assert sets["test"].names == [f"test/cat/{i}.png" for i in range(10)]
    for name, x in zip(sets["val"].names, sets["val"].parts["x"], strict=True):
        assert np.array_equal(x.permute(1, 2, 0), np.asarray(Image.open(tree / name))[1:11])
    line = f"{tree}: 3 images in val/ are of no training class and not used\n"
    assert capsys.readouterr().out == line


def test_without_a_test_folder_val_is_the_test_set(tree, tmp_path, capsys):
    (tree / "test").rename(tree / "val")
    data = opened(tree, tmp_path / "cache", holdout=0.1)
    sets = data.sets()
    assert sets["test"].names == [f"val/cat/{i}.png" for i in range(10)]
    assert len(sets["val"]) == 4
    assert all(name.startswith("train/") for name in sets["val"].names)
    assert sets["dog"].role == "outlier"
    data.prepare_data()  # Lightning calls it again for every stage
    line = "no test/, so val/ is the test set and the validation set is a part of train/"
    assert capsys.readouterr().out == f"{tree}: {line}\n"


def test_train_and_test_folders_need_no_word(tree, tmp_path, capsys):
    opened(tree, tmp_path / "cache")
    assert capsys.readouterr().out == ""


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
    write_noise(tree / "test/val/0.png")
    with pytest.raises(InnflowError, match="test/val"):
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
    (tree / "test/cat/bad.jpg").write_text("x")
    x, names, skipped = read_images(tree, 10, 3)
    assert x.shape == (61, 3, 10, 10)
    assert x.dtype == torch.uint8
    assert skipped == ["test/cat/bad.jpg: not an image"]
    i = names.index("test/dog/3.png")
    assert np.array_equal(x[i].permute(1, 2, 0), np.asarray(Image.open(tree / names[i]))[1:11])

    x, names, skipped = read_images(tree / "test/dog/3.png", 10, 1)
    assert x.shape == (1, 1, 10, 10)
    assert names == ["3.png"]
    with pytest.raises(InnflowError, match="cannot be decoded"):
        read_images(tree / "test/cat/bad.jpg", 10, 3)
    with pytest.raises(InnflowError, match="does not exist"):
        read_images(tree / "nowhere", 10, 3)


def test_what_is_no_regular_file_is_skipped_and_named(tree, tmp_path, caplog):
    os.mkfifo(tree / "train/cat/pipe.png")
    (tree / "test/cat/gone.png").symlink_to("nowhere.png")
    data = opened(tree, tmp_path / "cache")
    assert len(data.sets()["test"]) == 10
    assert "skipped 2 of 63 images" in caplog.text
    assert "train/cat/pipe.png: is a named pipe (FIFO)" in caplog.text
    assert "test/cat/gone.png: is a link to a missing file" in caplog.text
    write_noise(tree / "test/cat/nowhere.png", 500)
    assert len(opened(tree, tmp_path / "cache").sets()["test"]) == 12  # the cache is made again


def test_a_link_to_a_folder_above_would_repeat_the_images(tree, tmp_path, refused):
    (tree / "train/cat/loop").symlink_to(tree)
    with refused("train/cat/loop links to a folder that contains it"):
        opened(tree, tmp_path / "cache")


def test_a_pipe_is_no_source_of_images(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe.png")
    with refused("pipe.png is a named pipe (FIFO)"):
        read_images(tmp_path / "pipe.png", 8, 3)
