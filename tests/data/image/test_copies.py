from __future__ import annotations

import csv
import io
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from innflow.data import Images
from innflow.data.image.copies import find_copies, thumbnails
from innflow.data.image.drawing.draw import draw
from innflow.data.sets import PartsSet


@cache
def photo(seed: int) -> Image.Image:
    return draw("cat", [seed], 64)


def again(image: Image.Image, size: int, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.resize((size, size), Image.Resampling.BOX).save(file, "JPEG", quality=quality)
    return Image.open(file)


def a_set(name: str, images: list[Image.Image], size: int = 32, names=None) -> PartsSet:
    small = [image.convert("RGB").resize((size, size)) for image in images]
    x = torch.stack([torch.from_numpy(np.asarray(one).transpose(2, 0, 1).copy()) for one in small])
    return PartsSet(name, "train", {"x": x}, names or [f"{name}/{i}" for i in range(len(x))])


def copies(trained: PartsSet, *tested: PartsSet) -> list[tuple[str, str]]:
    found = find_copies(thumbnails(trained), thumbnails(*tested))
    return sorted((copy.trained, copy.tested) for copy in found)


@pytest.fixture(scope="module")
def trained() -> PartsSet:
    return a_set("train", [photo(seed) for seed in range(40)])


def test_resized_and_compressed_pictures_are_found_and_no_others(trained):
    others = a_set("other", [photo(seed) for seed in range(100, 130)])
    copied = [again(photo(3), 48, 50), again(photo(5), 128, 75), again(photo(8), 40, 90)]
    assert copies(trained, others) == []
    assert copies(trained, others, a_set("test", copied)) == [
        ("train/3", "test/0"),
        ("train/5", "test/1"),
        ("train/8", "test/2"),
    ]
    brighter = a_set("test", [photo(7).point(lambda value: int(0.7 * value + 30))])
    assert copies(trained, brighter) == [("train/7", "test/0")]


def test_many_copies_of_one_picture_are_found():
    trained = a_set("train", [photo(0)] * 20 + [photo(1), photo(2)])
    assert len(copies(trained, a_set("test", [photo(0), photo(9)]))) == 20


@pytest.mark.parametrize("size", [1, 8, 20])
def test_pictures_of_any_size_are_compared(size):
    trained = a_set("train", [photo(seed) for seed in range(30)], size)
    tested = a_set("test", [photo(4)], size)
    assert copies(trained, tested) == ([("train/4", "test/0")] if size > 1 else [])


def test_flat_pictures_are_no_copies():
    colours = [(200, 30, 30), (0, 0, 0), (255, 255, 255), (60, 60, 64)]
    flat = [Image.new("RGB", (32, 32), colour) for colour in colours]
    grain = np.random.default_rng(0).integers(-1, 2, (4, 32, 32, 3))
    noisy = [
        Image.fromarray((np.asarray(one) * 0.9 + 5 + g).astype(np.uint8))
        for one, g in zip(flat, grain, strict=True)
    ]
    assert copies(a_set("train", flat + noisy), a_set("test", flat + noisy)) == []


def test_digits_are_close_to_many_others_and_no_copies():
    x = torch.from_numpy(15 * load_digits().images.astype(np.uint8))[:, None]
    names = [f"digit/{i}" for i in range(len(x))]
    trained = PartsSet("train", "train", {"x": x[:1200]}, names[:1200])
    tested = PartsSet("test", "inlier", {"x": x[1200:]}, names[1200:])
    left, right = thumbnails(trained).rows, thumbnails(tested).rows
    assert (2 - 2 * right @ left.T).clamp(min=0).sqrt().min() < 0.2
    assert copies(trained, tested) == []
    again = PartsSet("test", "inlier", {"x": x[20:25]}, [f"test/{i}" for i in range(5)])
    assert [pair[0] for pair in copies(trained, again)] == names[20:25]


def test_an_equal_file_name_doubles_the_distance(trained):
    # Coarse enough that the picture alone is no proof.
    for size in range(16, 5, -1):
        coarse = [again(photo(3), size, 75)]
        if not copies(trained, a_set("test", coarse)):
            break
    same = a_set(
        "train", [photo(seed) for seed in range(40)], names=[f"a/{i}.png" for i in range(40)]
    )
    assert copies(same, a_set("test", coarse, names=["b/3.png"])) == [("a/3.png", "b/3.png")]
    assert copies(same, a_set("test", coarse, names=["b/4.png"])) == []


def write_tree(root: Path) -> Path:
    for seed in range(40):
        file = root / f"train/cat/{seed:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo(seed).save(file)
    for folder, seeds in {
        "val/cat": range(100, 110),
        "test/cat": range(200, 210),
        "test/dog": range(300, 310),
    }.items():
        (root / folder).mkdir(parents=True)
        for seed in seeds:
            photo(seed).save(root / folder / f"{seed}.png")
    return root


def test_copies_of_tested_pictures_are_left_out_of_training(tmp_path, capsys):
    root = write_tree(tmp_path / "cats")
    again(photo(1), 50, 60).save(root / "test/cat/x.jpg")
    again(photo(2), 50, 60).save(root / "test/dog/y.jpg")
    again(photo(3), 50, 60).save(root / "val/cat/z.jpg")
    again(photo(200), 50, 60).save(root / "val/cat/v.jpg")
    options = {"size": 32, "cache_dir": tmp_path / "cache"}
    sets = Images(root, **options).sets()
    out = capsys.readouterr().out
    assert "3 of 40 images of the set train are near copies of images in val, test, dog" in out
    assert "train/cat/01.png of test/cat/x.jpg, distance 0." in out
    assert "1 of 12 images of the set val are near copies of images in test, dog" in out
    assert {name: len(items) for name, items in sets.items()} == {
        "train": 37,
        "val": 11,
        "test": 11,
        "dog": 11,
    }
    assert not {f"train/cat/0{i}.png" for i in (1, 2, 3)} & {*sets["train"].names}
    assert len(sets["train"].parts["x"]) == 37
    lines = (tmp_path / "cache/near_copies_train.csv").read_text().splitlines()
    assert lines[0] == "distance,trained,tested"
    assert len(lines) == 4
    kept = Images(root, near_copies="keep", **options).sets()
    assert len(kept["train"]) == 40
    assert "kept" in capsys.readouterr().out


def test_names_that_are_no_text_are_listed(tmp_path, capsys):
    root = write_tree(tmp_path / "cats")
    strange = root / "test/cat" / os.fsdecode(b"\xff,\n.jpg")
    again(photo(1), 50, 60).save(strange)
    assert len(Images(root, size=32, cache_dir=tmp_path / "cache").sets()["train"]) == 39
    assert "01.png of test/cat/\\udcff,\\n.jpg, distance" in capsys.readouterr().out
    with (tmp_path / "cache/near_copies_train.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][1:] == ["train/cat/01.png", "test/cat/\\udcff,\n.jpg"]


def test_test_images_that_are_outliers_too_are_named(tmp_path, capsys):
    root = write_tree(tmp_path / "cats")
    again(photo(203), 50, 60).save(root / "test/dog/y.jpg")
    sets = Images(root, size=32, cache_dir=tmp_path / "cache").sets()
    out = capsys.readouterr().out
    assert "1 of 10 images of the set test are near copies of images in dog" in out
    assert "test/cat/203.png of test/dog/y.jpg, distance 0." in out
    assert "remove them from one of the two" in out
    assert [len(sets[name]) for name in ("train", "val", "test", "dog")] == [40, 10, 10, 11]


def test_near_copies_within_training_stay_silent(tmp_path, capsys):
    root = write_tree(tmp_path / "cats")
    again(photo(1), 50, 60).save(root / "train/cat/x.jpg")
    assert len(Images(root, size=32, cache_dir=tmp_path / "cache").sets()["train"]) == 41
    assert "near copies" not in capsys.readouterr().out


def test_copies_in_general_pictures_are_refused(tmp_path, refused):
    root, general = write_tree(tmp_path / "cats"), tmp_path / "general"
    general.mkdir()
    for seed in range(400, 420):
        photo(seed).save(general / f"{seed}.png")
    options = {"size": 32, "cache_dir": tmp_path / "cache"}
    assert Images(root, general=general, **options).general_set is not None
    for i in range(10):
        again(photo(305), 50 + i, 60).save(general / f"copy{i}.jpg")
    with refused("data.general", "of test/dog/305.png, distance 0.", "remove them"):
        Images(root, general=general, **options).setup()


def test_a_wrong_choice_is_refused(tmp_path, refused):
    with refused("data.near_copies=forget", "leave_out, keep"):
        Images(tmp_path, near_copies="forget")  # type: ignore[arg-type]
