"""The analyses of images, on a linear Gaussian flow and drawn pictures."""

import base64
import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.linear import Bare, image_study, images, make_set, plane_study
from innflow.analysis import (
    Attributes,
    Interpolation,
    LatentCloud,
    Likelihood,
    RoundTrip,
    Samples,
    Scores,
    Temperature,
    Training,
)
from innflow.analysis.latent.interpolation import linear, spherical
from innflow.analysis.latent.samples import nearest
from innflow.errors import InnflowError
from innflow.metric import auroc, bits_per_dim
from innflow.score import p_values


@pytest.fixture(scope="module")
def study():
    return image_study()


@pytest.fixture(scope="module")
def scored(study):
    return Scores(resamples=200)(study)


ANALYSES = {
    "likelihood": Likelihood(),
    "scores": Scores(resamples=50),
    "roundtrip": RoundTrip(),
    "samples": Samples(temperatures=(0.5, 1.0), components=(4, 9999)),
    "temperature": Temperature(temperatures=(0.0, 1.0), items=20, rows=3),
    "latent_cloud": LatentCloud(samples=50, copies=5),
    "interpolation": Interpolation(),
    "attributes": Attributes(),
    "training": Training(),
}


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("settings", [(3, 2), (1, 1), (3, 0)])
def test_every_analysis_runs_without_a_warning(name, settings):
    study = image_study(*settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = ANALYSES[name](study)
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    assert findings.title
    assert findings.text
    assert all(np.isfinite(value) for value in findings.metrics.values())
    for table in findings.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_likelihood_is_over_all_of_the_test_set(study):
    metrics = Likelihood()(study).metrics
    x = study.sets["test"].parts["x"]
    centre = study.app.log_prob(x).numpy()
    assert metrics["test/bpd_centre"] == pytest.approx(bits_per_dim(centre, 192).mean())
    noisy = np.mean([study.app.log_prob(x, noise_seed=i).numpy() for i in range(8)], axis=0)
    bits = bits_per_dim(noisy, 192)
    assert metrics["test/bpd"] == pytest.approx(bits.mean())
    assert metrics["test/bpd_se"] == pytest.approx(bits.std(ddof=1) / len(x) ** 0.5)
    assert metrics["test/nll"] == pytest.approx(-noisy.mean())
    assert metrics["test/bpd"] < metrics["bpd/dog"] < metrics["bpd/ball"]
    # Noise costs likelihood: the bound is below the density at the centre of a concave bump.
    assert metrics["test/bpd_centre"] < metrics["test/bpd"] < metrics["test/bpd_centre"] + 0.1
    assert {"train/bpd", "bpd/val"} < metrics.keys()


def test_scores_csv_has_its_columns_and_all_items(study, scored):
    items = scored.items
    named = ["likelihood", "bits_per_dim", "latent_distance", "typicality"]
    p = [f"{name}_p" for name in named]
    limit = ["p_value_min", "calibration_items"]
    assert list(items) == ["path", "score", "p_value", *limit, "log_prob", *named, *p, "set"]
    assert {len(column) for column in items.values()} == {300 + 40 + 200 + 60 + 60}
    assert items["path"][0] == study.names("train")[0]
    sets, counts = np.unique(items["set"], return_counts=True)
    assert dict(zip(sets, counts, strict=True))["test"] == 200


def test_outliers_are_judged_against_the_test_half_alone(study, scored):
    test, dog = (study.scorer(study.measure(name)) for name in ("test", "dog"))
    exact = auroc(test["typicality"][study.test_index], dog["typicality"])
    assert scored.metrics["ood/typicality/dog/auroc"] == exact
    means = [scored.metrics[f"ood/likelihood/{name}/auroc"] for name in ("dog", "ball")]
    assert scored.metrics["ood/likelihood/mean/auroc"] == pytest.approx(np.mean(means))
    for key in ("auroc", "aupr", "fpr95"):
        low, value, high = (
            scored.metrics[f"ood/likelihood/dog/{key}{end}"] for end in ("_low", "", "_high")
        )
        assert low <= value <= high


def test_flagged_are_those_whose_p_value_is_at_most_5_percent(study, scored):
    headline, half = study.scorer.headline, study.calibration_index
    score = study.scorer(study.measure("test"))["score"]
    for name in ("test", "dog", "ball"):
        values = study.scorer(study.measure(name))["score"]
        chosen = study.test_index if name == "test" else slice(None)
        share = np.mean(p_values(score[half], values[chosen]) <= 0.05)
        assert scored.metrics[f"ood/{headline}/{name}/flagged"] == share, name
    assert scored.metrics[f"ood/{headline}/threshold"] in score[half]
    assert "extremes" in scored.figures


def test_the_report_lists_the_extreme_items_with_their_pictures(study, scored):
    table = scored.tables[-1]
    assert list(table.columns) == ["picture", "set", "item", "score", "p-value"]
    rows = [row for row in table.rows if row[1] == "dog"]
    assert len(rows) == 20
    score = study.scorer(study.measure("dog"))["score"]
    assert [float(row[3]) for row in rows[:10]] == pytest.approx(
        np.sort(score)[::-1][:10], rel=1e-4
    )
    png = base64.b64decode(rows[0][0].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(png)) as image:
        shown = np.asarray(image).transpose(2, 0, 1)
    strangest = study.measure("dog").data[np.argmax(score)]
    np.testing.assert_array_equal(shown, study.picture(strangest[None])[0])


def test_p_values_of_test_items_leave_the_item_out(study, scored):
    test, dog = (scored.items["set"] == name for name in ("test", "dog"))
    for name, column in {name: f"{name}_p" for name in study.scorer.scores}.items():
        values, p = scored.items[name][test], scored.items[column][test]
        np.testing.assert_allclose(p[3], p_values(np.delete(values, 3), values[[3]])[0])
        expected = p_values(values, scored.items[name][dog])
        np.testing.assert_array_equal(scored.items[column][dog], expected)
    assert "leave one out" in scored.text
    assert set(scored.items["calibration_items"][test]) == {199}
    assert set(scored.items["calibration_items"][dog]) == {200}
    assert scored.metrics["ood/likelihood/p_value_min"] == 1 / 201


def test_a_level_that_few_inliers_cannot_reach_is_named(caplog):
    study = image_study(quick=True)
    study.scorer.calibrate({name: np.arange(18.0) for name in study.scorer.scores})
    findings = Scores(resamples=50)(study)
    assert "No item can be flagged at the level 0.05" in findings.text
    assert "18 calibration inliers" in caplog.text
    assert "ood/likelihood/threshold" not in findings.metrics


def test_p_values_calibrated_elsewhere_are_not_left_out():
    study = image_study()
    study.scorer.calibration["likelihood"] = study.scorer.calibration["likelihood"] + 5.0
    findings = Scores(resamples=50)(study)
    assert "They are not the items of the test set" in findings.text


def test_a_wrong_calibration_is_called_out():
    study = image_study()
    study.scorer.calibration["likelihood"] = study.scorer.calibration["likelihood"] - 60.0
    assert "BEYOND" in Scores(resamples=50)(study).text


def test_scores_that_rank_alike_are_drawn_once(scored):
    titles = [axis.get_title(loc="left") for axis in scored.figures["roc"].figure.axes]
    assert titles[0] == "likelihood (and bits per dim)"
    assert sum("bits per dim" in title for title in titles) == 1


def test_roundtrip_reports_the_largest_error(study):
    metrics = RoundTrip()(study).metrics
    assert 0 < metrics["roundtrip/max_error"] < 1e-3
    assert metrics["roundtrip/max_error_unit"] == metrics["roundtrip/max_error"] / 256


def test_nearest_equals_brute_force():
    items, queries = make_set("train", "train", images(600, 3, 0)), images(9, 3, 5).numpy()
    distance, index = nearest(queries, items, "test")
    flat = items.parts["x"].numpy().reshape(600, -1).astype(float)
    exact = np.sqrt(((queries.reshape(9, 1, -1) - flat[None]) ** 2).mean(axis=2))
    np.testing.assert_array_equal(index, exact.argmin(axis=1))
    np.testing.assert_allclose(distance, exact.min(axis=1), rtol=1e-4)


def test_test_images_that_are_in_train_are_counted():
    study = image_study()
    study.sets["test"].parts["x"][:7] = study.sets["train"].parts["x"][50:57]
    study._measured.clear()
    assert "7 of them are in train" in Samples(temperatures=(1.0,))(study).text


def test_copies_are_left_out_where_nothing_is_augmented():
    study = image_study()
    study.data = Bare()
    findings = LatentCloud(samples=30)(study)
    assert "copies" not in findings.figures
    assert "not augmented" in findings.text


def test_augmented_copies_repeat_and_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    texts = [LatentCloud(samples=30, copies=4)(image_study()).text for _ in range(2)]
    assert texts[0] == texts[1]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_walks_begin_and_end_at_their_images():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30))
    shares = np.linspace(0, 1, 5)
    for walk in (linear(a, b, shares), spherical(a, b, shares)):
        np.testing.assert_allclose(walk[[0, -1]], [a, b])
    norms = np.linalg.norm(spherical(a, b, shares), axis=1)
    ends = np.linalg.norm(a), np.linalg.norm(b)
    np.testing.assert_allclose(norms, np.linspace(*ends, 5))
    np.testing.assert_allclose(spherical(a, 2 * a, shares), linear(a, 2 * a, shares))


def test_a_walk_changes_a_linear_attribute_by_its_length():
    # Brightness and warmth are linear in the pixels, and so is this flow: the ends are exact.
    rows = {row[0]: row for row in Attributes(reach=1.5)(image_study()).tables[0].rows}
    for name in ("brightness", "warmth"):
        _, _, groups, start, ends = rows[name]
        less, more = map(float, groups.split(" / "))
        low, high = map(float, ends.split(" / "))
        assert high - float(start) == pytest.approx(1.5 * (more - less), abs=0.5)
        assert float(start) - low == pytest.approx(1.5 * (more - less), abs=0.5)


def test_class_folders_are_directions(study):
    findings = Attributes()(study)
    assert {"brightness", "contrast", "warmth", "cat", "kitten"} == findings.figures.keys()


@pytest.mark.parametrize("analysis", [Samples(), Temperature(), Interpolation(), Attributes()])
def test_analyses_of_images_refuse_vectors(analysis):
    with pytest.raises(InnflowError, match=r"needs images, the data have shape \(2,\)"):
        analysis(plane_study())


@pytest.mark.parametrize("name", ["likelihood", "scores", "roundtrip", "latent_cloud"])
def test_the_others_take_vectors(name):
    study = plane_study()
    findings = ANALYSES[name](study)
    assert "bpd" not in " ".join(findings.metrics)
    assert "roundtrip" not in findings.figures
