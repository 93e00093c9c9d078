from __future__ import annotations

import shutil

import torch

from data.conftest import write_noise
from innflow.data.general import PairedWithGeneral
from innflow.data.image.images import Images
from innflow.data.loader import ShuffledBatches
from innflow.data.sets import PartsSet
from innflow.system.batch import GENERAL


def rows(name, role, values) -> PartsSet:
    x = torch.tensor(values, dtype=torch.float32)[:, None]
    return PartsSet(name, role, {"x": x}, [f"{name}/{i}" for i in range(len(values))])


def folder_of_noise(folder, count, seed):
    for i in range(count):
        write_noise(folder / f"{i}.png", 100 * seed + i)


def test_each_inlier_has_a_general_item_of_its_own():
    inliers, general = rows("train", "train", [1, 2, 3]), rows("g", "train", range(10, 200))
    served = PairedWithGeneral(inliers, general)
    order = ShuffledBatches(3, 2, (0, 1), seed=0, general=190)
    batches = []
    for order.epoch in range(4):
        batches += [served.__getitems__(pairs) for pairs in order]
    assert all(batch["x"].shape == batch[GENERAL].shape == (2, 1) for batch in batches)
    assert all((batch["x"] < 4).all() and (batch[GENERAL] >= 10).all() for batch in batches)
    assert len({value for batch in batches for value in batch[GENERAL][:, 0].tolist()}) > 4
    order.epoch = 1
    again = served.__getitems__(next(iter(order)))
    assert torch.equal(again[GENERAL], batches[1][GENERAL])
    assert len(served) == 3


def test_images_bring_a_general_folder(tree, tmp_path, refused):
    other = tmp_path / "other"
    folder_of_noise(other / "thing", 30, 5)
    options = {"size": 10, "cache_dir": tmp_path / "cache", "batch_size": 8}
    data = Images(tree, general=other, **options)
    batch = next(iter(data.train_dataloader()))
    assert batch[GENERAL].shape == batch["x"].shape
    assert batch[GENERAL].dtype == torch.uint8
    assert data.general_set is not None
    assert GENERAL not in next(iter(data.val_dataloader()))
    assert Images(tree, **options).general_set is None
    # one outlier of the test sets slips into the general folder
    for i in range(20):
        shutil.copy(tree / "test" / "dog" / "0.png", other / "thing" / f"slipped{i}.png")
    with refused("data.general", "of test/dog/0.png"):
        Images(tree, general=other, **options).setup()


def test_general_items_are_augmented_as_inliers_are(tree, tmp_path):
    data = Images(tree, size=10, general=tree, cache_dir=tmp_path, augment={"resample": 1.0})

    class Training:
        training = True
        world_size = 1
        global_rank = 0
        overfit_batches = 0

    data.trainer = Training()  # type: ignore[assignment]
    batch = {"x": torch.zeros(2, 3, 10, 10), GENERAL: torch.zeros(2, 3, 10, 10)}
    varied = data.on_after_batch_transfer(dict(batch), 0)
    assert varied["x"].any()
    assert varied[GENERAL].any()


def test_further_outliers_from_other_folders(tree, tmp_path, refused):
    folder_of_noise(tmp_path / "far" / "train" / "a", 5, 1)
    folder_of_noise(tmp_path / "far" / "test" / "a", 3, 2)
    folder_of_noise(tmp_path / "flat" / "b", 4, 3)
    folder_of_noise(tmp_path / "general" / "train" / "c", 40, 4)
    options = {"size": 10, "cache_dir": tmp_path / "cache"}
    further = {name: tmp_path / name for name in ("far", "flat", "general")}
    sets = Images(tree, outliers=further, **options).sets()
    assert [len(sets[name]) for name in further] == [3, 4, 13]  # a third of few is held out
    assert {sets[name].role for name in further} == {"outlier"}
    assert all(name.startswith("test/") for name in sets["far"].names)
    # What a general model was trained on is not tested on.
    general = Images(tmp_path / "general", **options).sets()
    assert sets["general"].names == general["test"].names
    assert not set(sets["general"].names) & set(general["train"].names)
    with refused("data.outliers.dog", "already"):
        Images(tree, outliers={"dog": tmp_path / "flat"}, **options).sets()


def test_val_stands_in_for_a_missing_test(tmp_path):
    folder_of_noise(tmp_path / "tree" / "train" / "a", 8, 1)
    folder_of_noise(tmp_path / "tree" / "val" / "a", 3, 2)
    folder_of_noise(tmp_path / "tree" / "val" / "b", 2, 3)
    sets = Images(tmp_path / "tree", size=10, cache_dir=tmp_path / "cache").sets()
    assert {name: len(items) for name, items in sets.items() if name in ("test", "b")} == {
        "test": 3,
        "b": 2,
    }
