from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.flows import flow_study
from analysis.linear import Bare, image_study, images, make_set
from innflow.analysis import SampleQuality
from innflow.errors import InnflowError


class WithGeneral(Bare):
    general_set = make_set("general", "train", images(60, 3, 9, 90.0))


@pytest.fixture(scope="module")
def findings():
    study = image_study()
    study.data = WithGeneral()
    return SampleQuality(samples=20, size=32, exploded=40)(study)


def test_samples_of_the_true_density_are_as_near_as_training_images(findings):
    found = findings.metrics
    assert found["samples/kid"] < 0.5 + found["samples/kid_train"]
    assert found["samples/precision"] > 0.5
    assert found["samples/recall"] > 0.5
    assert found["samples/exploded"] == 0
    assert found["samples/inlier_share"] > 0.5


def test_the_table_has_samples_beside_training_images(findings):
    (table,) = findings.tables
    assert [row[0] for row in table.rows] == ["samples", "training images"]
    assert list(table.columns)[1:] == ["kid", "frechet", "precision", "recall", "inlier_share"]
    assert all(np.isfinite(value) for value in findings.metrics.values())


def test_bad_samples_are_far_and_exploded_ones_counted(findings):
    study = flow_study()
    study.sample = lambda n, temperature: 1e4 * torch.randn(n, 3, 8, 8).numpy()
    study.decode = lambda z: 1e4 * z
    found = SampleQuality(samples=20, size=32, exploded=10)(study).metrics
    assert found["samples/kid"] > 5 * abs(findings.metrics["samples/kid"])
    assert found["samples/exploded"] == 1
    assert "samples/inlier_share" not in found


def test_grey_images_are_refused_before_training():
    with pytest.raises(InnflowError, match="has 3 channels, the images have 1"):
        SampleQuality().check(image_study(channels=1))
