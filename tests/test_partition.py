from __future__ import annotations

import math
import random
from dataclasses import FrozenInstanceError

import pytest
import torch

from innflow import Partition


def random_partition(rng: random.Random) -> Partition:
    """Draw parts of vectors or images; the sides need not be equally long."""
    tail = rng.choice([(), (2, 3)])
    left = {f"l{i}": (rng.randint(1, 5), *tail) for i in range(rng.randint(1, 4))}
    total = sum(math.prod(shape) for shape in left.values())
    right, rest = {}, total
    for i in range(rng.randint(1, 3)):
        size = rng.randint(1, max(1, rest // 2))
        if size >= rest:
            break
        right[f"r{i}"] = (size,)
        rest -= size
    return Partition(left, {**right, "z": (rest - rng.randint(0, rest - 1),)})


def draw(partition: Partition, side: str, batch: int = 3) -> dict[str, torch.Tensor]:
    shapes = partition.left if side == "left" else partition.right
    return {name: torch.randn(batch, *shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("side", ["left", "right"])
def test_split_undoes_join_and_join_undoes_split(side, seed):
    partition = random_partition(random.Random(seed))
    parts = draw(partition, side)
    joined = partition.join(side, parts)
    assert joined.shape == (3, *(partition.shape if side == "left" else (partition.features,)))
    back = partition.split(side, joined)
    assert list(back) == list(parts)
    assert all(torch.equal(back[name], parts[name]) for name in parts)
    assert torch.equal(partition.join(side, back), joined)


@pytest.mark.parametrize("seed", range(30))
def test_both_sides_are_equally_long(seed):
    partition = random_partition(random.Random(seed))
    for shapes in (partition.left, partition.right):
        assert sum(math.prod(shape) for shape in shapes.values()) == partition.features
    assert math.prod(partition.shape) == partition.features


@pytest.mark.parametrize("side", ["left", "right"])
def test_parts_are_views(side):
    partition = Partition({"x": (3,), "eps": (2,)}, {"y": (1,), "z": (2, 2)})
    joined = torch.randn(4, 5)
    for part in partition.split(side, joined).values():
        assert part.untyped_storage().data_ptr() == joined.untyped_storage().data_ptr()


def test_a_single_part_is_not_copied():
    partition = Partition({"x": (3, 2, 2)}, {"z": (12,)})
    x = torch.randn(4, 3, 2, 2)
    assert partition.join("left", {"x": x}) is x


def test_parts_are_joined_in_the_order_of_the_partition():
    partition = Partition({"x": (2,), "eps": (1,)}, {"y": (1,), "z": (2,)})
    parts = {"eps": torch.full((1, 1), 3.0), "x": torch.tensor([[1.0, 2.0]])}
    assert partition.join("left", parts).tolist() == [[1, 2, 3]]
    right = partition.split("right", torch.tensor([[1.0, 2.0, 3.0]]))
    assert right["y"].tolist() == [[1]]
    assert right["z"].tolist() == [[2, 3]]


def test_images_stack_their_channels():
    partition = Partition({"x": (3, 4, 4), "eps": (2, 4, 4)}, {"z": (80,)})
    assert partition.shape == (5, 4, 4)
    joined = torch.randn(2, 5, 4, 4)
    assert torch.equal(partition.split("left", joined)["eps"], joined[:, 3:])


def test_right_parts_may_have_a_shape():
    partition = Partition({"x": (12,)}, {"y": (2, 3), "z": (6,)})
    flat = torch.arange(24.0).view(2, 12)
    assert torch.equal(partition.split("right", flat)["y"], flat[:, :6].view(2, 2, 3))


def test_the_shorter_side_is_padded():
    assert Partition({"x": (3,)}, {"y": (2,), "z": (4,)}).left == {"x": (3,), "pad": (3,)}
    assert Partition({"x": (7,)}, {"z": (4,)}).right == {"z": (4,), "pad": (3,)}
    image = Partition({"x": (3, 2, 2)}, {"z": (20,)})
    assert image.left == {"x": (3, 2, 2), "pad": (2, 2, 2)}
    assert "pad" not in Partition({"x": (3,)}, {"z": (3,)}).left


def test_an_empty_batch_splits_too():
    partition = Partition({"x": (3, 2, 2)}, {"y": (2, 2), "z": (8,)})
    parts = partition.split("right", torch.zeros(0, 12))
    assert parts["y"].shape == (0, 2, 2)


def test_is_frozen_and_copies_its_arguments():
    left = {"x": [4]}
    partition = Partition(left, {"z": (4,)})
    left["x"] = [9]
    assert partition.left == {"x": (4,)}
    with pytest.raises(FrozenInstanceError):
        partition.left = {}


def test_sides_are_described_in_one_readable_line():
    left, right = {"x": (8,), "eps": (4,)}, {"y": (3,), "z": (7,)}
    line = "left 12 = x 8 + eps 4, right 10 = y 3 + z 7"
    assert Partition.describe(left, right) == line


def test_str():
    partition = Partition({"x": (3, 2, 2)}, {"y": (2,), "z": (10,)})
    assert str(partition) == "left 12 = x 3x2x2, right 12 = y 2 + z 10"


@pytest.mark.parametrize(
    ("left", "right", "fragments"),
    [
        ({"x": (5,), "pad": (1,)}, {"z": (8,)}, ("6 != 8", "left 6 = x 5 + pad 1, right 8 = z 8")),
        ({"x": (8,)}, {"z": (5,), "pad": (1,)}, ("8 != 6", "right 6 = z 5 + pad 1")),
        ({"x": (1, 2, 2)}, {"z": (7,)}, ("4 != 7", "3 missing on the left", "4 pixels")),
        ({"x": (3, 4, 4), "eps": (1, 2, 2)}, {"z": (52,)}, ("x 3x4x4 + eps 1x2x2", "dim 1")),
        ({"x": (0,)}, {"z": (4,)}, ("part x has shape (0,)",)),
        ({"x": (0,)}, {"x": (4,)}, ("part x has shape (0,)",)),
        ({"x": ()}, {"z": (4,)}, ("part x has shape ()",)),
        ({"x": (4,)}, {"z": (-4,)}, ("part z has shape (-4,)",)),
        ({}, {"z": (4,)}, ("each side needs at least one part",)),
        ({"x": (4,)}, {}, ("each side needs at least one part",)),
    ],
)
def test_invalid_partitions_are_refused(left, right, fragments, refused):
    with refused(*fragments):
        Partition(left, right)


def test_wrong_parts_and_tensors_are_refused(refused):
    partition = Partition({"x": (3,), "eps": (1,)}, {"z": (4,)})
    with refused("left needs x, eps", "eps is missing"):
        partition.join("left", {"x": torch.zeros(2, 3)})
    with refused("left part eps has shape (2,), not (1,)"):
        partition.join("left", {"x": torch.zeros(2, 3), "eps": torch.zeros(2, 2)})
    with refused("right has shape (5,), not (4,)"):
        partition.split("right", torch.zeros(2, 5))
    with refused("side 'top' is unknown", "left or right"):
        partition.split("top", torch.zeros(2, 4))


def test_build_reads_sizes_shapes_data_and_rest():
    partition = Partition.build(
        {"x": "data", "eps": 4}, {"y": [2, 3], "z": "rest"}, {"x": (8,), "label": ()}
    )
    assert partition.left == {"x": (8,), "eps": (4,)}
    assert partition.right == {"y": (2, 3), "z": (6,)}
    image = Partition.build({"x": "data"}, {"z": "rest"}, {"x": [3, 4, 4]})
    assert image.shape == (3, 4, 4)
    assert image.right == {"z": (48,)}


def test_build_keeps_the_order_of_the_right_side():
    partition = Partition.build({"x": 6}, {"z": "rest", "y": 2}, {})
    assert list(partition.right) == ["z", "y"]
    assert partition.right["z"] == (4,)


@pytest.mark.parametrize(
    ("left", "right", "fragments"),
    [
        ({"y": "data"}, {"z": 2}, ("partition.left.y=data", "no part y", "it has x")),
        ({"x": "rest"}, {"z": 2}, ("partition.left.x=rest", "must be a number, a shape, data")),
        ({"x": "date"}, {"z": 2}, ("partition.left.x=date",)),
        ({"x": 4}, {"z": "all"}, ("partition.right.z=all", "data or rest")),
        ({"x": 4}, {"y": "rest", "z": "rest"}, ("only one part can be rest", "y", "z")),
        ({"x": 4}, {"y": 4, "z": "rest"}, ("left x 4, right y 4", "no dimension remains for z")),
    ],
)
def test_build_refuses_in_one_line(left, right, fragments, refused):
    with refused(*fragments):
        Partition.build(left, right, {"x": (4,)})
