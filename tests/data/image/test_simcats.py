from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from innflow.data.image.drawing.canvas import Canvas
from innflow.data.image.drawing.draw import SUBJECTS, draw
from innflow.data.image.drawing.scenes import background
from innflow.data.image.images import Images
from innflow.data.image.simcats import SimCats, SimShapes, cats, draw_folder
from innflow.errors import InnflowError

FEW = {"n_train": 8, "n_test": 3, "n_outliers": 2}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_seed_is_a_drawing(subject):
    first, again, other = (np.asarray(draw(subject, [seed], 32)) for seed in (1, 1, 2))
    assert first.shape == (32, 32, 3)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_subject_is_there_and_the_background_is_left(subject):
    def scene(_):
        return None

    pictures, scenes = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed])
        canvas = Canvas(rng, 32)
        background(canvas)
        scenes.append(canvas.image.copy())
        SUBJECTS[subject](canvas)
        pictures.append(canvas.image)
    changed = np.abs(np.array(pictures) - np.array(scenes)).max(axis=-1) > 0.05
    middle = changed.shape[1] // 2
    assert changed[:, middle - 8 : middle + 8, middle - 8 : middle + 8].mean() > 0.7
    assert changed[:, :6, :6].mean() < 0.35


def test_sets(tmp_path):
    data = SimCats(size=16, cache_dir=tmp_path, holdout=0.2, **FEW)
    data.prepare_data()
    sizes = {name: len(part) for name, part in data.sets().items()}
    assert sizes == {"train": 6, "val": 2, "test": 3, "beachball": 2, "dog": 2, "flower": 2}
    assert data.drawn
    assert data.shape == (3, 16, 16)
    assert data.sets()["dog"].names == ["test/dog/00000.png", "test/dog/00001.png"]
    files = list(tmp_path.rglob("*.png"))
    assert len(files) == 17
    assert Image.open(files[0]).size == (64, 64)
    assert not list(tmp_path.glob("*.tmp"))


def test_shapes_are_general_images_without_outliers(tmp_path):
    data = SimShapes(size=16, cache_dir=tmp_path, n_train=8, n_test=3)
    data.prepare_data()
    sizes = {name: len(part) for name, part in data.sets().items()}
    assert sizes == {"train": 7, "val": 1, "test": 3}
    assert not data.drawn  # it is no stand-in for photographs
    assert {path.parent.name for path in tmp_path.rglob("*.png")} == {"shapes"}
    with pytest.raises(InnflowError, match="n_train=1: give an integer"):
        SimShapes(n_train=1)


def test_drawn_once_and_again_when_asked_for_others(tmp_path):
    def folders():
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_dir()}

    SimCats(size=16, cache_dir=tmp_path, **FEW).prepare_data()
    first = folders()
    SimCats(size=24, cache_dir=tmp_path, seed=5, **FEW).prepare_data()
    assert folders() == first
    SimCats(size=16, cache_dir=tmp_path, draw_seed=5, **FEW).prepare_data()
    assert len(folders()) == 2


def test_the_same_on_any_number_of_processes(tmp_path):
    counts = {"train/cat": 5, "test/dog": 4}
    draw_folder(tmp_path / "one", counts, 24, 0, jobs=1)
    draw_folder(tmp_path / "two", counts, 24, 0, jobs=2)
    paths = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(paths) == 9
    contents = [(tmp_path / "one" / path).read_bytes() for path in paths]
    assert contents == [(tmp_path / "two" / path).read_bytes() for path in paths]
    assert len(set(contents)) == 9


def test_who_comes_second_keeps_the_first_drawings(tmp_path):
    draw_folder(tmp_path / "cats", {"train/cat": 2}, 16, 0)
    before = (tmp_path / "cats/train/cat/00000.png").stat().st_mtime_ns
    draw_folder(tmp_path / "cats", {"train/cat": 2}, 16, 0)
    assert (tmp_path / "cats/train/cat/00000.png").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["cats"]


def test_an_interruption_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="unicorn"):
        draw_folder(tmp_path / "cats", {"train/cat": 2, "test/unicorn": 1}, 16, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_root_means_photographs(tree, tmp_path):
    photographs = cats(tree, size=10, cache_dir=tmp_path / "cache")
    assert type(photographs) is Images
    assert not photographs.drawn
    assert len(photographs.sets()["dog"]) == 6
    assert isinstance(cats(None, cache_dir=tmp_path), SimCats)
    with pytest.raises(InnflowError, match="photographs"):
        cats(None, inliers=["cat"])


@pytest.mark.parametrize("name", ["n_train", "n_test", "n_outliers", "draw_size"])
def test_counts_are_checked(name):
    with pytest.raises(InnflowError, match=f"{name}=0: give an integer"):
        SimCats(**{name: 0})
