from __future__ import annotations

import pytest
import torch

from innflow.data.augment import AMOUNTS, build_augment
from innflow.data.images import Images
from innflow.errors import InnflowError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def smooth_image() -> torch.Tensor:
    axis = torch.linspace(0, 3, 32)
    waves = torch.sin(axis)[:, None] * torch.cos(2 * axis)[None]
    return (127 + 90 * torch.stack([waves, waves.T, -waves])).round().to(torch.uint8)


def copies(n: int = 16) -> torch.Tensor:
    return smooth_image().expand(n, -1, -1, -1).contiguous()


@pytest.mark.parametrize("name", AMOUNTS)
def test_each_sample_is_varied_by_itself(name):
    x = copies()
    kept = x.clone()
    y = build_augment([name])(x)
    assert y.dtype == torch.uint8
    assert y.shape == x.shape
    assert torch.equal(x, kept)
    variants = {image.numpy().tobytes() for image in y}
    assert len(variants) == (2 if name == "flip" else 16)


def test_flip_is_exact():
    x = torch.randint(0, 256, (200, 3, 5, 6), dtype=torch.uint8)
    y = build_augment(["flip"])(x)
    same = (y == x).flatten(1).all(1)
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140
    always = build_augment({"flip": 1.0})(x)
    assert torch.equal(always, x.flip(-1))


@pytest.mark.parametrize("name", ["zoom", "shear", "rotate"])
def test_a_vanishing_amount_changes_next_to_nothing(name):
    x = copies()
    y = build_augment({name: 1e-4})(x)
    assert (y.int() - x.int()).abs().max() <= 1


def test_values_stay_integers_and_borders_are_mirrored():
    x = torch.full((16, 3, 16, 16), 200, dtype=torch.uint8)
    y = build_augment({"rotate": 45.0, "zoom": 0.5, "shear": 20.0})(x)
    assert torch.equal(y, x)  # nothing from outside comes in
    floats = build_augment(["rotate"])(copies().float())
    assert floats.dtype == torch.float32
    assert torch.equal(floats, floats.round())
    assert floats.min() >= 0
    assert floats.max() <= 255


def test_grey_images_too():
    assert build_augment(list(AMOUNTS))(copies()[:, :1]).shape == (16, 1, 32, 32)


def test_the_data_module_augments_when_asked(tmp_path):
    x = copies()
    plain = Images("/nowhere", cache_dir=tmp_path)
    assert plain.augment(x) is x
    assert not torch.equal(Images("/nowhere", augment=["rotate"]).augment(x), x)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (["flip", "blur"], "data.augment=blur is not known: choose from flip, zoom, shear, rotate"),
        ({"flip": 2}, "data.augment.flip=2"),
        ({"zoom": 1.0}, "data.augment.zoom=1.0"),
        ({"rotate": "much"}, "data.augment.rotate=much"),
        ({"rotate": float("nan")}, "data.augment.rotate=nan"),
    ],
)
def test_wrong_amounts(chosen, says):
    with pytest.raises(InnflowError, match=says):
        build_augment(chosen)


def test_nothing_chosen():
    assert build_augment(None) is None
    assert build_augment([]) is None
    assert build_augment("flip").amounts == {"flip": 0.5}
