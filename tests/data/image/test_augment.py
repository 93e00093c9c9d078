from __future__ import annotations

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from innflow.data.image.augment import AMOUNTS, build_augment, warp
from innflow.data.image.images import Images
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


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_one_interpolation_equals_torchvision_on_each_image(size, mirrored):
    x = torch.nn.functional.interpolate(copies(4).float(), size=size, mode="bilinear").round()
    turn, scale = torch.tensor([10.0, -40.0, 0.0, 25.0]), torch.tensor([1.0, 0.8, 1.2, 1.1])
    shear = torch.tensor([[0.0, 5.0, -15.0, 8.0], [3.0, -7.0, 0.0, 8.0]])
    flips = torch.full((4, 1, 1, 1), mirrored)
    ours = warp(x.to(torch.uint8), turn, scale, shear, flips)
    assert ours.dtype == torch.uint8
    for row in range(4):
        image = x[row].flip(-1) if mirrored else x[row]
        mode, slant = InterpolationMode.BILINEAR, shear[:, row].tolist()
        settings = (float(turn[row]), [0, 0], float(scale[row]), slant, mode)
        theirs = affine(image, *settings)
        # What comes from outside is black to them; ours is mirrored there.
        inside = affine(torch.ones_like(image), *settings) > 0.9999
        assert inside.float().mean() > 0.5
        assert (ours[row] - theirs)[inside].abs().max() < 0.53


def test_what_comes_from_outside_is_mirrored_at_the_border():
    x = copies(1).float()
    wide = torch.cat([x.flip(-1), x, x.flip(-1)], -1)
    wide = torch.cat([wide.flip(-2), wide, wide.flip(-2)], -2)
    values = torch.tensor([30.0]), torch.tensor([0.8]), torch.tensor([[10.0], [5.0]])
    assert torch.equal(warp(x, *values), warp(wide, *values)[..., 32:64, 32:64])


def test_amounts_are_drawn_evenly_between_their_limits(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "innflow.data.image.augment.warp", lambda x, *drawn: seen.append(drawn) or x
    )
    build_augment(list(AMOUNTS))(torch.zeros(4000, 1, 1, 1, dtype=torch.uint8))
    turn, scale, shear, mirrored = seen[0]
    for drawn, centre, most in ((turn, 0, 10), (scale, 1, 0.1), (shear[0], 0, 5), (shear[1], 0, 5)):
        relative = (drawn - centre) / most
        assert relative.abs().max() <= 1
        assert abs(relative.mean()) < 0.05
        assert abs(relative.var() - 1 / 3) < 0.03
    assert abs(mirrored.float().mean() - 0.5) < 0.05
    assert torch.corrcoef(torch.stack([turn, scale, *shear])).tril(-1).abs().max() < 0.08


def test_a_flip_alone_comes_with_the_same_numbers_as_ever():
    x = torch.arange(24, dtype=torch.uint8).view(4, 1, 2, 3)
    torch.manual_seed(3)
    chosen = torch.rand(4, 1, 1, 1) < 0.5
    torch.manual_seed(3)
    assert torch.equal(build_augment(["flip"])(x), torch.where(chosen, x.flip(-1), x))


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
