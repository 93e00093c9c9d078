from __future__ import annotations

import pytest
import torch

from innflow.data.sets import PartsSet, hold_out, make_sets, share_of_test


@pytest.fixture
def items() -> PartsSet:
    labels = torch.arange(100) % 5 // 4  # 80 of class 0, 20 of class 1
    return PartsSet.numbered("item", "train", {"x": torch.arange(100.0)[:, None], "label": labels})


def test_fractions_give_three_disjoint_sets_by_the_seed(items):
    sets = make_sets(items, 0.2, 0.25, 3, "items")
    assert {name: (s.role, len(s)) for name, s in sets.items()} == {
        "train": ("train", 60),
        "val": ("val", 20),
        "test": ("inlier", 20),
    }
    names = [name for part in sets.values() for name in part.names]
    assert sorted(names) == sorted(items.names)
    for part in sets.values():
        assert [f"item/{int(x)}" for x in part.parts["x"]] == list(part.names)
    again, other = (make_sets(items, 0.2, 0.25, seed, "items") for seed in (3, 4))
    assert all(again[name].names == sets[name].names for name in sets)
    assert other["val"].names != sets["val"].names
    assert other["test"].names != sets["test"].names


def test_with_classes_every_set_has_the_same_share_of_each(items):
    sets = make_sets(items, 0.2, 0.25, 0, "items", classes=["many", "few"])
    counts = {name: part.parts["label"].bincount().tolist() for name, part in sets.items()}
    assert counts == {"train": [48, 12], "val": [16, 4], "test": [16, 4]}


def test_given_rows_and_given_items_are_taken_as_they_are(items):
    val, rows = torch.tensor([3, 5]), torch.arange(10, 90)
    other = PartsSet.numbered("other", "inlier", {"x": torch.zeros(4, 1)})
    sets = make_sets(items, other, val, 0, "items", rows)
    assert sets["val"].names == ["item/3", "item/5"]
    assert sets["test"].names == [f"other/{i}" for i in range(4)]
    assert sets["train"].names == [f"item/{i}" for i in range(10, 90)]
    # A fraction is then taken of the training rows alone.
    held = make_sets(items, torch.tensor([0, 1]), 0.1, 0, "items", rows)
    assert len(held["val"]) == 8
    assert {*held["train"].names, *held["val"].names} == set(sets["train"].names)
    assert held["test"].names == ["item/0", "item/1"]


@pytest.mark.parametrize(
    ("count", "held"), [(30, 10), (500, 167), (1000, 199), (1990, 199), (9000, 900)]
)
def test_a_small_set_keeps_more_items_for_the_test(count, held):
    _, test = hold_out(torch.arange(count), share_of_test(count), 0, "items")
    assert len(test) == held
