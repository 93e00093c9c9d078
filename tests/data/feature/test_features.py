from __future__ import annotations

import numpy as np
import pytest
import torch

from innflow.data.feature.backbone import Backbone
from innflow.data.feature.features import Coordinates, compute_features
from innflow.data.feature.network import LITE0


@pytest.fixture
def rows():
    """300 vectors of 4 features that differ in mean and width and hang together."""
    mixing = torch.tensor([[3.0, 0, 0, 0], [1, 0.5, 0, 0], [0, 0, 2, 0], [0, 0.1, 0, 1]])
    return torch.randn(300, 4) @ mixing.T + torch.tensor([1.0, -2, 3, 10])


def fitted(rows, **options) -> Coordinates:
    coordinates = Coordinates(**{"normalise": "none", "components": None, **options})
    coordinates.fit(rows)
    return coordinates


def test_none_changes_nothing(rows):
    assert torch.equal(fitted(rows)(rows), rows)


def test_standardise_is_by_the_items_it_was_fitted_to_alone(rows):
    coordinates = fitted(rows[:200], normalise="standardise")
    inside = coordinates(rows[:200])
    torch.testing.assert_close(inside.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(dim=0, correction=0), torch.ones(4))
    expected = (rows - rows[:200].mean(dim=0)) / rows[:200].std(dim=0, correction=0)
    torch.testing.assert_close(coordinates(rows), expected)


def test_l2_gives_vectors_the_length_root_d(rows):
    x = fitted(rows, normalise="l2")(rows)
    torch.testing.assert_close(x.norm(dim=1), torch.full((300,), 2.0))
    torch.testing.assert_close(x / x.norm(dim=1, keepdim=True), rows / rows.norm(dim=1)[:, None])
    assert torch.equal(fitted(rows, normalise="l2")(torch.zeros(1, 4)), torch.zeros(1, 4))


def test_a_channel_that_never_changes_stays_finite():
    rows = torch.randn(50, 3)
    rows[:, 1] = 4.0
    x = fitted(rows, normalise="standardise")(rows)
    assert torch.equal(x[:, 1], torch.zeros(50))
    assert x.isfinite().all()


def test_all_components_turn_and_lose_nothing(rows):
    x = fitted(rows, components=4)(rows)
    covariance = torch.cov(x.T)
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 1e-4 * covariance.max()
    assert torch.equal(covariance.diag().sort(descending=True).values, covariance.diag())
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(rows, rows), rtol=1e-3, atol=1e-2)


def test_few_components_are_the_leading_ones(rows):
    all_of_them, two = fitted(rows, components=4), fitted(rows, components=2)
    assert two.shape((4,)) == (2,)
    torch.testing.assert_close(two(rows), all_of_them(rows)[:, :2])


@pytest.mark.parametrize("normalise", ["standardise", "l2"])
def test_maps_are_treated_position_by_position(rows, normalise):
    maps = rows[:240].reshape(20, 3, 4, 4).permute(0, 3, 1, 2)  # (20, 4, 3, 4)
    coordinates = fitted(maps, normalise=normalise, components=3)
    x = coordinates(maps)
    assert x.shape == (20, 3, 3, 4)
    alone = fitted(rows[:240], normalise=normalise, components=3)
    expected = alone(rows[:240]).reshape(20, 3, 4, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", ["none", "standardise", "l2"])
def test_state_goes_there_and_back(rows, normalise):
    first = fitted(rows, normalise=normalise, components=3)
    second = Coordinates(normalise, 3)
    assert not second.fitted
    second.load_state(first.state())
    assert second.fitted
    assert torch.equal(second(rows[:5]), first(rows[:5]))


def test_what_cannot_be_is_refused(rows, refused):
    with refused("data.components=5", "4 features"):
        Coordinates("none", 5).shape((4,))
    with refused("data.components=4", "training items, 3"):
        fitted(rows[:3], components=4)
    with refused("data.normalise=whiten", "standardise"):
        Coordinates("whiten", None)
    with refused("have not been fitted"):
        Coordinates("standardise", None)(rows)


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)


def test_features_are_computed_once(images, tmp_path, monkeypatch):
    backbone = Backbone(LITE0, 32)
    names = [str(i) for i in range(5)]
    first = compute_features(tmp_path, images, names, backbone)
    torch.testing.assert_close(first, backbone(images))
    monkeypatch.setattr(Backbone, "stream", lambda *_: pytest.fail("computed again"))
    again = compute_features(tmp_path, images.clone(), names, Backbone(LITE0, 32))
    assert torch.equal(again, first)


@pytest.mark.parametrize(
    "change",
    [
        lambda images, options: (images.flip(0), options),
        lambda images, options: (images[:4], options),
        lambda images, options: (images, {**options, "layer": "_blocks.3"}),
        lambda images, options: (images, {**options, "layer": "_blocks.3", "spatial": True}),
    ],
    ids=["other pictures", "fewer", "another layer", "maps"],
)
def test_another_question_has_a_cache_of_its_own(images, tmp_path, change):
    options = {"network": LITE0, "size": 32}
    compute_features(tmp_path, images, "abcde", Backbone(**options))
    images, options = change(images, options)
    backbone = Backbone(**options)
    features = compute_features(tmp_path, images, "abcde", backbone)
    torch.testing.assert_close(features, backbone(images))
    assert len(list(tmp_path.glob("*.raw"))) == 2


def test_a_truncated_cache_is_made_again(images, tmp_path):
    backbone = Backbone(LITE0, 32)
    first = compute_features(tmp_path, images, "abcde", backbone).clone()
    (path,) = tmp_path.glob("*.raw")
    path.write_bytes(path.read_bytes()[:500])
    assert torch.equal(compute_features(tmp_path, images, "abcde", backbone), first)
    assert sorted(tmp_path.iterdir()) == [path.with_suffix(".json"), path]


def test_features_that_are_not_finite_are_refused_and_leave_no_cache(images, tmp_path, refused):
    backbone = Backbone(LITE0, 32)
    _ = backbone.hash
    with torch.no_grad():
        backbone._source.module._conv_stem.weight[0] = np.nan
    with refused("cat/0.jpg", "not finite"):
        compute_features(tmp_path, images, ["cat/0.jpg"] * 5, backbone)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(images, tmp_path, refused):
    place = tmp_path / "file"
    place.write_text("x")
    with refused("cannot write the cache", "data.cache_dir"):
        compute_features(place, images, "abcde", Backbone(LITE0, 32))
