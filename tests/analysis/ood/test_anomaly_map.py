"""One patch of every outlier is strange: the map must find it, and draw it where it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.linear import LinearGaussian, image_study, make_set, plane_study
from innflow.analysis import Study
from innflow.analysis.ood.anomaly_map import AnomalyMap
from innflow.data.base import PartsDataModule
from innflow.data.feature.embeddings import Embeddings
from innflow.figure.ood.heat_overlay import overlay, plot_anomaly_maps

SHAPE = (6, 8, 8)
# Of the maps; in the pictures the same place is eight times as large.
ROWS, COLUMNS = slice(1, 3), slice(5, 7)


class Pictures(Embeddings):
    """Grey pictures that tell their set and position by their first pixel."""

    def __init__(self) -> None:
        PartsDataModule.__init__(self, SHAPE)
        self.asked: dict[str, list[int]] = {}

    def picture(self, name: str, index: np.ndarray) -> np.ndarray:
        self.asked[name] = list(index)
        return np.full((len(index), 3, 64, 64), 120, dtype=np.uint8)


def features(n: int, seed: int) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def study() -> Study:
    train = features(3000, 0)
    strange = features(20, 3)
    strange[:, :, ROWS, COLUMNS] += 4 * (1 + torch.arange(20)[:, None, None, None] / 20)
    sets = {
        "train": make_set("train", "train", train),
        "val": make_set("val", "val", features(20, 1)),
        "test": make_set("test", "inlier", features(200, 2)),
        "patched": make_set("patched", "outlier", strange),
    }
    return Study(Squares(train), Pictures(), sets, None)


def half_squares(latent: np.ndarray) -> np.ndarray:
    """Return half the sum of squares of z over the channels, (N, H, W)."""
    return 0.5 * np.square(latent.reshape(-1, *SHAPE)).sum(axis=1)


class Squares(LinearGaussian):
    """The maps of a flow without log-determinants."""

    def why_no_map(self) -> str:
        return ""

    def anomaly_map(self, x: Tensor) -> Tensor:
        return torch.from_numpy(half_squares(self.measure(x).latent.numpy()))


def test_findings_have_the_numbers_of_each_set(study):
    findings = AnomalyMap()(study)
    assert findings.metrics["map/test/mean"] == pytest.approx(3.0, rel=0.15)
    patched = half_squares(study.measure("patched").latent)
    assert findings.metrics["map/patched/mean"] == pytest.approx(patched.mean())
    assert findings.metrics["map/patched/peak"] == pytest.approx(patched.max(axis=(1, 2)).mean())
    assert findings.metrics["map/patched/peak"] > 4 * findings.metrics["map/test/peak"]
    (table,) = findings.tables
    assert [row[:2] for row in table.rows] == [["test", "128"], ["patched", "20"]]
    assert "1% quantile" in findings.figures["anomaly_maps"].caption


def test_typical_inliers_and_the_least_probable_outliers_are_shown(study):
    AnomalyMap(shown=3)(study)
    log_prob = {name: study.measure(name).log_prob for name in ("test", "patched")}
    assert study.data.asked["patched"] == list(np.argsort(log_prob["patched"])[:3])
    distance = np.abs(log_prob["test"] - np.median(log_prob["test"]))
    assert set(study.data.asked["test"]) == set(np.argsort(distance)[:3])


def test_a_flow_that_mixes_all_pixels_has_no_maps_and_says_so():
    findings = AnomalyMap()(image_study())
    assert not findings.figures
    assert "mixes all pixels" in findings.text


def test_heat_lies_over_the_patch_in_the_picture():
    picture = np.full((3, 64, 64), 120, dtype=np.uint8)
    heat = np.zeros((8, 8))
    heat[ROWS, COLUMNS] = 10.0
    drawn = overlay(picture, heat, (0.0, 10.0)).astype(float).sum(axis=0)
    middle = drawn[16, 48]
    assert middle == drawn.max()
    assert middle > drawn[48, 16] + 200
    assert drawn[16, 16] == drawn[48, 48] == drawn.min()


def test_one_scale_of_colours_serves_all_rows_and_is_labelled():
    heats = [np.full((2, 4, 4), value) for value in (1.0, 2.0)]
    images = [np.full((2, channels, 16, 16), 90, dtype=np.uint8) for channels in (1, 3)]
    figure = plot_anomaly_maps(images, heats, ["a", "b"], (1.0, 3.0), "nats")
    _, bar = figure.axes
    assert bar.get_ylim() == (1.0, 3.0)
    assert bar.get_ylabel() == "nats"


def test_other_data_are_refused(refused):
    with refused("analysis anomaly_map", "images or maps of features", "data.spatial=true"):
        AnomalyMap().check(plane_study())
