from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from innflow.data.feature.backbone import Backbone
from innflow.data.feature.embeddings import Embeddings
from innflow.data.feature.network import LITE0
from innflow.data.image.images import Images
from innflow.data.image.storage import read_images


def opened(root, cache, **options) -> Embeddings:
    data = Embeddings(root, size=32, batch_size=8, holdout=0.1, cache_dir=cache, **options)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def data(tree, tmp_path) -> Embeddings:
    return opened(tree, tmp_path / "cache")


def test_sets_are_those_of_the_images(data, tree, tmp_path):
    pictures = Images(tree, size=32, holdout=0.1, cache_dir=tmp_path / "cache").sets()
    sets = data.sets()
    assert list(sets) == list(pictures) == ["train", "val", "test", "ball", "dog"]
    for name, items in sets.items():
        assert items.names == pictures[name].names
        assert items.role == pictures[name].role
        assert items.parts["x"].shape == (len(items), 1280)
        assert items.parts["x"].dtype == torch.float32
    assert data.shape == (1280,)


def test_every_feature_belongs_to_the_picture_of_its_name(data, tree):
    for name in ("train", "dog"):
        items = data.sets()[name]
        shown = data.picture(name, [2, 0])
        assert shown.shape == (2, 3, 32, 32)
        assert shown.dtype == np.uint8
        file = np.asarray(
            Image.open(tree / items.names[2]).crop((0, 1, 10, 11)).resize((32, 32), 1)
        )
        assert np.array_equal(shown[0], file.transpose(2, 0, 1))
        expected = items.parts["x"][[2, 0]]
        torch.testing.assert_close(data.embed(torch.tensor(shown)), expected, atol=1e-4, rtol=1e-3)


def test_only_training_items_decide_the_coordinates(tree, tmp_path):
    # Images of val/ are read after those of train/, whose batches then stay the same to the bit.
    (tree / "test").rename(tree / "val")
    data = opened(tree, tmp_path / "cache")
    train = data.sets()["train"].parts["x"]
    torch.testing.assert_close(train.mean(dim=0), torch.zeros(1280), atol=1e-4, rtol=0)
    for i in range(20):
        Image.new("RGB", (12, 10), "white").save(tree / f"val/dog/white{i}.png")
    more = opened(tree, tmp_path / "cache")
    assert len(more.sets()["dog"]) == 26
    torch.testing.assert_close(more.sets()["train"].parts["x"], train)


def test_a_run_takes_its_coordinates_to_new_pictures(data, tree, tmp_path):
    """What innflow-score does: the config builds the module, the state of the run fits it."""
    state = data.state()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    new = Embeddings("nowhere", size=32, cache_dir=tmp_path / "empty")
    new.load_state(state)
    images, _, _ = read_images(tree / "test/dog", new.size, new.channels)
    expected = data.sets()["dog"].parts["x"]
    torch.testing.assert_close(new.embed(images), expected, atol=1e-4, rtol=1e-3)
    assert not (tmp_path / "empty").exists()
    # On another root the sets follow the run, too.
    other = Embeddings(tree / "test/dog", size=32, cache_dir=tmp_path / "cache")
    other.load_state(state)
    rows = torch.cat([other.sets()[name].parts["x"] for name in ("train", "val", "test")])
    assert not torch.allclose(other.sets()["train"].parts["x"].mean(dim=0), torch.zeros(1280))
    torch.testing.assert_close(rows.sum(dim=0), expected.sum(dim=0), atol=1e-3, rtol=1e-3)


def test_the_state_of_other_weights_is_refused(data, refused):
    with refused("weights", "not those of the run"):
        data.load_state({**data.state(), "weights": np.array("other")})


def test_noise_is_on_training_batches_alone_and_fresh(tree, tmp_path):
    data = opened(tree, tmp_path / "cache", noise=0.5)
    clean = data.sets()["train"].__getitems__(range(8))

    class Stage:
        training, world_size, global_rank = True, 1, 0

    data.trainer = Stage()  # type: ignore[assignment]
    noisy = [data.on_after_batch_transfer(dict(clean), 0)["x"] for _ in range(2)]
    for x in noisy:
        assert abs((x - clean["x"]).std().item() - 0.5) < 0.02
    assert not torch.equal(*noisy)
    Stage.training = False
    assert torch.equal(data.on_after_batch_transfer(dict(clean), 0)["x"], clean["x"])


def test_maps_keep_their_places(tree, tmp_path):
    data = opened(tree, tmp_path / "cache", layer="_blocks.4", spatial=True, components=6)
    assert data.shape == (6, 4, 4)
    assert data.sets()["dog"].parts["x"].shape == (6, 6, 4, 4)
    train = data.sets()["train"].parts["x"]
    covariance = torch.cov(train.movedim(1, 0).flatten(1))
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 1e-3 * covariance.max()


def test_labels_stand_beside_features(tree, tmp_path):
    for i in range(8):
        place = tree / f"train/dog/{i}.png"
        place.parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), (30 * i, 0, 0)).save(place)
    data = opened(tree, tmp_path / "cache", labels=True)
    assert data.classes == ["cat", "dog"]
    test = data.sets()["test"]
    wanted = [int(name.startswith("test/dog")) for name in test.names]
    assert test.parts["label"].tolist() == wanted
    assert "label" not in data.sets()["ball"].parts


def test_nothing_is_computed_twice(data, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(Backbone, "stream", lambda *_: pytest.fail("computed again"))
    again = opened(tree, tmp_path / "cache")
    assert torch.equal(again.sets()["dog"].parts["x"], data.sets()["dog"].parts["x"])


def test_without_a_root_cats_are_drawn(tmp_path):
    data = Embeddings(None, cache_dir=tmp_path)
    assert data.drawn
    assert data.shape == (1280,)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"noise": -1.0}, ["data.noise=-1.0"]),
        ({"components": 1281}, ["data.components=1281", "1280"]),
        ({"components": 0}, ["data.components=0"]),
        ({"normalise": "l1"}, ["data.normalise=l1", "l2"]),
        ({"network": "nothing"}, ["data.network=nothing"]),
        ({"size": 0}, ["data.size=0"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, fragments, tmp_path, refused):
    with refused(*fragments):
        Embeddings(**{"root": None, "size": 32, "network": LITE0, "cache_dir": tmp_path, **options})
