"""Labels of images in folders, of drawings, of torchvision's sets and of rows of tables."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from torchvision import datasets

from data.conftest import write_noise
from data.image.test_vision import write_cifar, write_mnist
from innflow.data.base import PartsDataModule
from innflow.data.image.images import Images
from innflow.data.image.simcats import SimCats, cats
from innflow.data.image.vision import _KNOWN, Vision
from innflow.data.sets import PartsSet, hold_out
from innflow.data.table.files import read_labels
from innflow.data.table.table import Table

LABELLED = ("train", "val", "test")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """20 cats and 30 dogs to train on, 4 and 6 to test on, and 5 balls."""
    root = tmp_path / "pets"
    for kind, base, count in (("dog", 0, 30), ("cat", 100, 20)):
        for i in range(count):
            write_noise(root / f"train/{kind}/{'deep/' * (i % 2)}{i}.png", base + i)
        for i in range(count // 5):
            write_noise(root / f"test/{kind}/{i}.png", base + 50 + i)
    for i in range(5):
        write_noise(root / f"test/ball/{i}.png", 300 + i)
    return root


def opened(root: Path, **options) -> Images:
    cache = root.parent / "cache"
    data = Images(root, size=10, cache_dir=cache, **{"holdout": 0.2, "labels": True} | options)
    data.prepare_data()
    return data


def counts(part: PartsSet) -> list[int]:
    return part.parts["label"].bincount().tolist()


def check_names(data: PartsDataModule, at: int = 1) -> None:
    """Every label is the class folder in the name of its image."""
    for name in LABELLED:
        part = data.sets()[name]
        folders = [item.split("/")[at] for item in part.names]
        assert part.parts["label"].dtype == torch.int64
        assert [data.classes[label] for label in part.parts["label"].tolist()] == folders


def test_class_folders_are_labels_in_alphabetical_order(pets):
    data = Images(pets, size=10, cache_dir=pets.parent / "cache", labels=True)
    assert data.classes == ["cat", "dog"]
    assert not (pets.parent / "cache").exists()
    data = opened(pets)
    check_names(data)
    sets = data.sets()
    assert list(sets) == [*LABELLED, "ball"]
    assert {name: counts(sets[name]) for name in LABELLED} == {
        "train": [16, 24],
        "val": [4, 6],
        "test": [4, 6],
    }
    assert list(sets["ball"].parts) == ["x"]
    plain = opened(pets, labels=False)
    assert plain.classes == []
    assert list(plain.sets()["test"].parts) == ["x"]
    assert torch.equal(plain.sets()["test"].parts["x"], sets["test"].parts["x"])


def test_batches_and_flips_keep_labels_beside_their_images(pets):
    data = opened(pets, augment={"flip": 1.0}, batch_size=10)
    items = data.sets()["train"]
    known = {
        image.numpy().tobytes(): label
        for image, label in zip(data.augment(items.parts["x"]), items.parts["label"], strict=True)
    }
    for batch in data.train_dataloader():
        flipped = data.augment(batch["x"])
        assert [known[image.numpy().tobytes()] for image in flipped] == batch["label"].tolist()


def test_some_classes_are_inliers_and_the_others_outliers(pets):
    for i in range(6):
        write_noise(pets / f"train/fox/{i}.png", 400 + i)
    write_noise(pets / "test/fox/0.png", 500)
    assert opened(pets).classes == ["cat", "dog", "fox"]
    data = opened(pets, inliers=["fox", "cat"])
    assert data.classes == ["cat", "fox"]
    check_names(data)
    assert counts(data.sets()["test"]) == [4, 1]
    assert data.sets()["dog"].role == "outlier"
    assert list(data.sets()["dog"].parts) == ["x"]


def test_val_stands_in_for_test(pets):
    (pets / "test").rename(pets / "val")
    data = opened(pets)
    check_names(data)
    assert counts(data.sets()["test"]) == [4, 6]
    assert data.sets()["test"].names[0] == "val/cat/0.png"
    assert len(data.sets()["ball"]) == 5
    assert len(opened(pets, labels=False).sets()["ball"]) == 5


@pytest.mark.parametrize("inner", [".", "train"])
def test_without_test_a_tenth_of_each_class_is_the_test_set(pets, inner):
    shutil.rmtree(pets / "test")
    data = opened(pets / inner)
    check_names(data, at=0 if inner == "train" else 1)
    sets = data.sets()
    assert data.classes == ["cat", "dog"]
    assert counts(sets["test"]) == [2, 3]
    assert counts(sets["train"]) == [14, 22]
    names = {name for part in sets.values() for name in part.names}
    assert len(names) == 50


@pytest.mark.parametrize("options", [{}, {"inliers": ["cat", "dog"]}])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_class_without_images_is_named(pets, refused, split, options):
    if split == "val":
        (pets / "test").rename(pets / "val")
    shutil.rmtree(pets / split / "dog")
    (pets / split / "dog").mkdir()
    data = Images(pets, size=10, cache_dir=pets.parent / "cache", labels=True, **options)
    if split == "train" and not options:
        with refused("data.labels=true needs two classes", "there is only cat", f"{pets}/train"):
            _ = data.classes
        return
    for ask in (data.prepare_data, lambda: data.classes):
        with refused(f"labels missing for class dog: {pets}/{split}/dog has no images"):
            ask()
    assert not (pets.parent / "cache").exists()


def test_images_outside_class_folders_have_no_label(pets, refused):
    write_noise(pets / "train/stray.png", 1)
    with refused("labels missing", f"{pets} has training images in no class folder"):
        opened(pets)
    assert opened(pets, inliers=["cat", "dog"]).classes == ["cat", "dog"]
    with refused("labels missing", "in no class folder"):
        opened(pets / "train/cat")
    shutil.rmtree(pets / "train")
    with refused(f"{pets} has test/ but no train/"):
        opened(pets)


def test_a_class_too_small_to_hold_one_out(pets, refused):
    for path in sorted((pets / "train/dog").rglob("*.png"))[1:]:
        path.unlink()
    data = opened(pets)
    with refused("training images of class dog: 1 usable, at least 2"):
        data.setup()


FEW = {"n_train": 6, "n_test": 3, "n_outliers": 2, "size": 16, "draw_size": 16, "holdout": 0.2}


def test_drawn_kinds_are_labels(tmp_path):
    data = SimCats(cache_dir=tmp_path, inliers=["dog", "cat"], labels=True, **FEW)
    assert data.classes == ["cat", "dog"]
    assert not list(tmp_path.iterdir())
    data.prepare_data()
    check_names(data)
    sets = data.sets()
    sizes = {name: counts(sets[name]) for name in LABELLED}
    assert sizes == {"train": [5, 5], "val": [1, 1], "test": [3, 3]}
    assert {name for name, part in sets.items() if part.role == "outlier"} == {
        "beachball",
        "flower",
    }
    # The cats are those that are drawn when there are only cats to train on.
    alone = SimCats(cache_dir=tmp_path, **FEW)
    alone.prepare_data()
    cats_here = sets["test"].parts["x"][sets["test"].parts["label"] == 0]
    assert torch.equal(alone.sets()["test"].parts["x"], cats_here)
    assert list(alone.sets()["test"].parts) == ["x"]


def test_cats_and_dogs_with_and_without_a_root(pets, tmp_path, refused):
    options = {"inliers": ["cat", "dog"], "labels": True, "cache_dir": tmp_path / "c", "size": 10}
    drawn = cats(None, **options)
    assert (drawn.drawn, drawn.classes) == (True, ["cat", "dog"])
    photographs = cats(pets, **options)
    assert (photographs.drawn, photographs.classes) == (False, ["cat", "dog"])
    with refused("data.labels=true needs two classes", "there is only cat"):
        cats(None, labels=True)
    with refused("data.inliers=unicorn", "choose from cat, dog, beachball, flower"):
        cats(None, labels=True, inliers=["cat", "unicorn"])
    with refused("data.inliers is empty"):
        SimCats(inliers=[])


def test_torchvision_labels_are_those_of_the_files(tmp_path):
    digits = write_mnist(tmp_path)
    write_mnist(tmp_path, "FashionMNIST")
    data = Vision(
        "mnist",
        tmp_path,
        size=28,
        channels=1,
        holdout=0.25,
        outliers=["fashionmnist"],
        cache_dir=tmp_path / "cache",
        labels=True,
    )
    assert data.classes == list("0123456789")
    data.prepare_data()
    sets = data.sets()
    for name in LABELLED:
        rows = [int(item.split("/")[1]) for item in sets[name].names]
        assert sets[name].parts["label"].tolist() == [row % 10 for row in rows]
        source = digits["test" if name == "test" else "train"]
        assert np.array_equal(sets[name].parts["x"][:, 0], source[rows])
    # Four of each class to train on, of which one is held out.
    assert counts(sets["val"]) == [1] * 10
    assert list(sets["fashionmnist"].parts) == ["x"]
    plain = Vision("mnist", tmp_path, size=28, channels=1, cache_dir=tmp_path / "cache")
    assert plain.classes == []
    assert list(plain.sets()["test"].parts) == ["x"]


def test_names_of_classes_are_those_of_torchvision(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    assert len(_KNOWN["cifar10"].classes) == 10
    folder = tmp_path / "oxford-iiit-pet" / "annotations"
    folder.mkdir(parents=True)
    breeds = _KNOWN["oxfordiiitpet"].classes
    lines = [
        f"{breed.replace(' ', '_')}_{i} {label + 1} 1 1"
        for label, breed in enumerate(breeds)
        for i in range(2)
    ]
    (folder / "trainval.txt").write_text("\n".join(lines))
    (folder.parent / "images").mkdir()
    assert datasets.OxfordIIITPet(tmp_path).classes == breeds
    # The breeds are numbered in alphabetical order.
    assert breeds == sorted(breeds)
    assert len(breeds) == 37
    assert _KNOWN["fashionmnist"].classes[9] == "Ankle boot"


def test_celeba_has_no_classes(tmp_path, refused):
    with refused("data.labels=true", "celeba has no classes"):
        Vision("celeba", tmp_path, labels=True)


X = np.random.default_rng(0).standard_normal((60, 2))
KINDS = ["setosa", "virginica", "versicolor"]
NAMES = [KINDS[i % 3] for i in range(60)]


def write_csv(path: Path, labels: list[str]) -> Path:
    rows = [f"{a},{label},{b}" for (a, b), label in zip(X, labels, strict=True)]
    path.write_text("\n".join(["width,kind,length", *rows]) + "\n")
    return path


def test_a_column_of_a_table_is_the_label(tmp_path):
    path = write_csv(tmp_path / "t.csv", NAMES)
    data = Table(path, label="kind", test=0.2, holdout=0.25, outliers=path)
    assert data.shape == (2,)
    assert data.classes == sorted(KINDS)
    sets = data.sets()
    assert {name: counts(sets[name]) for name in LABELLED} == {
        "train": [12] * 3,
        "val": [4] * 3,
        "test": [4] * 3,
    }
    for name in LABELLED:
        rows = [int(item.split("/")[1]) for item in sets[name].names]
        assert np.array_equal(sets[name].parts["x"], X[rows].astype(np.float32))
        assert [data.classes[i] for i in sets[name].parts["label"]] == [NAMES[i] for i in rows]
    assert list(sets["outliers"].parts) == ["x"]
    assert len(sets["outliers"]) == 60


def test_labels_of_other_kinds_of_files(tmp_path):
    numbers = [10, 9, 2] * 20
    np.savez(tmp_path / "names.npz", x=X, kind=np.array(NAMES))
    np.savez(tmp_path / "whole.npz", x=X, kind=np.array(numbers, dtype=np.float64))
    columns = {"a": X[:, 0], "b": X[:, 1]}
    for name, kind in (("names", NAMES), ("whole", numbers)):
        parquet.write_table(pyarrow.table(columns | {"kind": kind}), tmp_path / f"{name}.parquet")
    write_csv(tmp_path / "whole.csv", [str(number) for number in numbers])
    for suffix in (".npz", ".parquet"):
        assert read_labels(tmp_path / f"names{suffix}", "kind") == NAMES
        data = Table(tmp_path / f"names{suffix}", label="kind")
        assert (data.shape, data.classes) == ((2,), sorted(KINDS))
        assert sum(len(part) for part in data.sets().values()) == 60
    for suffix in (".npz", ".parquet", ".csv"):
        # In the order of numbers, not of letters.
        assert Table(tmp_path / f"whole{suffix}", label="kind").classes == ["2", "9", "10"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a", "", *["b"] * 58], ("row 1 (from 0), column kind", "no class")),
        (["a"] * 60, ("data.label=kind needs two classes", "has a")),
        (["a", *["b"] * 59], ("rows of class a: 1 usable",)),
    ],
)
def test_what_is_wrong_with_labels_of_a_table(tmp_path, refused, labels, says):
    path = write_csv(tmp_path / "t.csv", labels)
    with refused("t.csv", *says):
        Table(path, label="kind")


def test_a_label_that_is_no_class(tmp_path, refused):
    np.savez(tmp_path / "t.npz", x=X, half=np.full(60, 0.5), pair=X)
    with refused("row 0", "column half", "0.5 is no class"):
        _ = Table(tmp_path / "t.npz", label="half").classes
    with refused("array pair", "(N,) names or integers"):
        Table(tmp_path / "t.npz", label="pair")
    kinds = pyarrow.array([None, *NAMES[1:]])
    parquet.write_table(pyarrow.table({"a": X[:, 0], "kind": kinds}), tmp_path / "t.parquet")
    with refused("row 0", "column kind", "None is no class"):
        _ = Table(tmp_path / "t.parquet", label="kind").classes


def test_the_label_is_a_column_and_no_feature(tmp_path, refused):
    path = write_csv(tmp_path / "t.csv", NAMES)
    with refused("has no column sort", "width, kind, length"):
        Table(path, label="sort")
    with refused("data.label=kind is among data.columns"):
        Table(path, label="kind", columns=["width", "kind"])
    assert Table(path, label="kind", columns=["length"]).shape == (1,)
    names = Table(path).columns["x"]
    assert [name for name in names if name.startswith("kind=")] == [
        f"kind={kind}" for kind in sorted(set(NAMES))
    ]


def test_a_stratified_split_takes_the_same_share_of_each_class():
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 2)[torch.randperm(42)]
    kept, held = hold_out(torch.arange(len(labels)), 0.1, 0, "rows", labels, "abc")
    assert labels[held].bincount().tolist() == [3, 1, 1]
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(42))
    assert torch.equal(kept, kept.sort().values)
    again = hold_out(torch.arange(len(labels)), 0.1, 0, "rows", labels, "abc")[1]
    other = hold_out(torch.arange(len(labels)), 0.1, 1, "rows", labels, "abc")[1]
    assert torch.equal(held, again)
    assert not torch.equal(held, other)
