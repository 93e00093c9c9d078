"""Batches from elsewhere, on scores whose power is known."""

import io
import warnings

import numpy as np
import pytest
import torch

from analysis.linear import image_study, make_set, plane_study
from innflow.analysis import Batches

SCORES = ("likelihood", "bits_per_dim", "latent_distance", "typicality")


def vectors_with_outliers(shift: float = 3.0):
    study = plane_study()
    shifted = study.sets["test"].parts["x"][:300] + torch.tensor([shift, -shift])
    study.sets["far"] = make_set("far", "outlier", shifted)
    return study


@pytest.mark.parametrize("study", [image_study, vectors_with_outliers])
def test_it_runs_without_a_warning(study):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = Batches(draws=20)(study())
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    (table,) = findings.tables
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert len(table.rows) == 5 * (1 + len(study().outliers))


def test_power_grows_with_the_batch_and_inliers_keep_the_level():
    metrics = Batches(draws=300)(vectors_with_outliers(shift=1.0)).metrics
    power = [metrics[f"batches/likelihood/far/power_{size}"] for size in (2, 5, 10, 25)]
    assert power == sorted(power)
    assert power[0] < 0.5 < 0.9 < power[-1]
    for size in (1, 2, 5, 10, 25):
        # Two halves of test, drawn once, make it more or less than the level.
        assert metrics[f"batches/likelihood/inliers/flagged_{size}"] < 0.12


def test_outliers_like_the_inliers_are_flagged_no_more_often():
    study = plane_study()
    study.sets["same"] = make_set("same", "outlier", study.data.draw(300, 9))
    metrics = Batches(sizes=(1, 10), draws=300)(study).metrics
    assert metrics["batches/likelihood/same/power_1"] < 0.1
    assert metrics["batches/likelihood/same/power_10"] < 0.15


def test_sets_smaller_than_a_batch_are_left_out_and_named():
    study = vectors_with_outliers()
    few = study.sets["far"].parts["x"][:7]
    study.sets["few"] = make_set("few", "outlier", few)
    findings = Batches(sizes=(2, 10), draws=20)(study)
    assert "batches/likelihood/few/power_10" not in findings.metrics
    assert "fewer items than the largest batches: few" in findings.text
    rows = {tuple(row[:2]): row[2:] for row in findings.tables[0].rows}
    assert rows[("likelihood", "few")][1] == "-"


def test_without_outliers_there_are_false_alarms_alone():
    findings = Batches(sizes=(1, 5), draws=50)(plane_study())
    assert findings.metrics.keys() == {
        f"batches/{name}/inliers/flagged_{size}"
        for name in (*SCORES, "typicality_of_the_mean")
        for size in (1, 5)
    }


def test_a_batch_larger_than_the_evaluation_half_is_refused(refused):
    with refused("evaluation half of the test set has 100 items"):
        Batches(sizes=(1, 101)).check(image_study(outliers=1))


def test_a_batch_that_takes_too_long_to_count_is_refused_before_training(refused):
    study = plane_study()
    with refused("batch of 500 items against 1000"):
        Batches(sizes=(500,)).check(study)


def test_many_calibration_items_are_thinned():
    study = plane_study()
    study.sets["test"] = make_set("test", "inlier", study.data.draw(5000, 4))
    study._measured.pop("test", None)
    vars(study).pop("_halves", None)
    findings = Batches(sizes=(1,), draws=50)(study)
    assert "2,000 calibration items" in findings.text
    assert np.isfinite(list(findings.metrics.values())).all()


def test_each_half_of_the_test_set_has_its_use(monkeypatch):
    from innflow.analysis.ood import batches

    study = image_study(outliers=1)
    score = study.scorer(study.measure("test"))["latent_distance"]
    seen = []

    def keep(calibration, inliers, outliers, *settings):
        seen.append((calibration, inliers, outliers, settings))
        return power(calibration, inliers, outliers, *settings)

    power = batches.batch_power
    monkeypatch.setattr(batches, "batch_power", keep)
    study.scorer.scores = {"latent_distance": study.scorer.scores["latent_distance"]}
    study.scorer.headline = "latent_distance"
    study.fit_scorer()
    Batches(sizes=(3,), draws=7, alpha=0.1)(study)
    ((calibration, inliers, outliers, settings),) = seen
    np.testing.assert_array_equal(calibration, score[study.calibration_index])
    np.testing.assert_array_equal(inliers, score[study.test_index])
    dog = study.scorer(study.measure("dog"))["latent_distance"]
    np.testing.assert_array_equal(outliers, dog)
    assert settings == (3, 7, 0.1, study.seed)


def test_the_mean_likelihood_of_a_batch_is_tested_to_both_sides():
    study = plane_study()
    x = study.sets["test"].parts["x"][:300]
    near = x.mean(dim=0).lerp(x, 0.2)  # too likely, every one of them
    study.sets["near"] = make_set("near", "outlier", near)
    metrics = Batches(sizes=(1, 10), draws=300)(study).metrics
    assert metrics["batches/likelihood/near/power_10"] < 0.01
    assert metrics["batches/typicality_of_the_mean/near/power_10"] > 0.95
    assert metrics["batches/typicality_of_the_mean/near/power_1"] < 0.3
    assert metrics["batches/typicality_of_the_mean/inliers/flagged_10"] < 0.12
