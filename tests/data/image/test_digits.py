from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from innflow.data.image.digits import Digits, shift_images

LABELLED = ("train", "val", "test")


def test_every_digit_is_in_one_set_as_sklearn_has_it():
    data = Digits(holdout=0.1)
    assert data.shape == (1, 8, 8)
    assert data.classes == list("0123456789")
    sets = data.sets()
    bundled = load_digits()
    rows = []
    for name in LABELLED:
        index = [int(item.removeprefix("digit/")) for item in sets[name].names]
        assert np.array_equal(sets[name].parts["x"][:, 0], bundled.images[index])
        assert np.array_equal(sets[name].parts["label"], bundled.target[index])
        rows += index
    assert sorted(rows) == list(range(1797))
    assert sets["train"].parts["x"].dtype == torch.uint8
    assert sets["train"].parts["label"].dtype == torch.int64
    assert int(sets["train"].parts["x"].max()) == data.levels - 1


def test_a_third_of_each_class_is_tested_on_and_a_twentieth_monitored():
    sets = Digits().sets()
    assert len(sets["test"]) == 599
    counts = {name: sets[name].parts["label"].bincount() for name in LABELLED}
    total = sum(counts.values())
    assert ((counts["test"] - total / 3).abs() < 1).all()
    assert counts["val"].tolist() == [6] * 10


def test_the_seed_moves_the_monitor_and_never_the_test_third():
    first, again, other = (Digits(seed=seed).sets() for seed in (1, 1, 2))
    assert first["val"].names == again["val"].names
    assert first["val"].names != other["val"].names
    assert first["test"].names == other["test"].names


def test_outliers_are_the_test_third_spoilt():
    data = Digits()
    sets = data.sets()
    x = sets["test"].parts["x"].int()
    for name in ("inverted", "scrambled"):
        assert sets[name].role == "outlier"
        assert list(sets[name].parts) == ["x"]
    assert torch.equal(16 - x, sets["inverted"].parts["x"].int())
    scrambled = sets["scrambled"].parts["x"].int()
    assert not torch.equal(scrambled, x)
    # One permutation for all: the sorted columns of the two sets are the same columns.
    columns = [sorted(map(tuple, part.flatten(1).T.tolist())) for part in (x, scrambled)]
    assert columns[0] == columns[1]
    assert torch.equal(scrambled, Digits(seed=3).sets()["scrambled"].parts["x"].int())


def test_shifts_move_each_image_by_whole_pixels_each_way():
    x = torch.zeros(3000, 2, 5, 6, dtype=torch.uint8)
    x[:, 0, 2, 3], x[:, 1, 2, 3] = 7, 9
    kept = x.clone()
    y = shift_images(x, 1)
    assert y.dtype == torch.uint8
    assert y.shape == x.shape
    assert torch.equal(x, kept)
    assert (y.flatten(2).amax(2) == torch.tensor([7, 9])).all()
    assert torch.equal(y[:, 0] > 0, y[:, 1] > 0)
    _, rows, columns = (y[:, 0] > 0).nonzero(as_tuple=True)
    moves = ((rows - 1) * 3 + columns - 2).bincount(minlength=9)
    assert len(moves) == 9
    assert (moves / len(x) - 1 / 9).abs().max() < 0.03


def test_paper_comes_in_and_ink_goes_out():
    y = shift_images(torch.full((200, 1, 4, 4), 5, dtype=torch.uint8), 2)
    for image in y[:, 0]:
        inked = image > 0
        height, width = int(inked.any(1).sum()), int(inked.any(0).sum())
        assert min(height, width) >= 2
        assert int(inked.sum()) == height * width
    assert len({image.numpy().tobytes() for image in y}) == 25


def test_a_shift_of_zero_leaves_them():
    data = Digits(shift=0)
    x = data.sets()["test"].parts["x"]
    assert torch.equal(data.augment(x), x)
    moved = Digits(shift=1).augment(x)
    assert moved.shape == x.shape
    assert 0.5 < (moved != x).flatten(1).any(1).float().mean() < 1


def test_a_support_vector_machine_reads_them():
    sets = Digits().sets()

    def flat(name):
        parts = sets[name].parts
        return parts["x"].flatten(1).double().numpy(), parts["label"].numpy()

    assert SVC(gamma=1e-3).fit(*flat("train")).score(*flat("test")) > 0.98


@pytest.mark.parametrize("shift", [-1, 0.5, True])
def test_wrong_settings(refused, shift):
    with refused("data.shift="):
        Digits(shift=shift)
