from __future__ import annotations

import pytest

from innflow.run.report.headline import (
    choose_headlines,
    describe_detection,
    describe_models,
    table,
    warn_of_calibration,
)

METRICS = {
    "ood/ratio/dog/auroc": 0.9,
    "ood/ratio/ball/auroc": 1.0,
    "ood/ratio/mean/auroc": 0.95,
    "ood/typicality/mean/auroc": 0.5,
    "test/bpd": 3.75,
    "test/nll": 8000.0,
    "roundtrip/max_error": 1e-5,
}


def test_the_table_has_the_headline_score_and_each_of_its_outlier_sets():
    rows = [line.split() for line in table(METRICS, "ratio")]
    assert [(row[0], row[1]) for row in rows] == [
        ("test/bpd", "3.75"),
        ("ood/ratio/mean/auroc", "0.95"),
        ("ood/ratio/ball/auroc", "1"),
        ("ood/ratio/dog/auroc", "0.9"),
        ("roundtrip/max_error", "1.0e-05"),
    ]
    assert rows[0][2] == "bits/dim"
    assert rows[1][2:5] == ["good:", "share", "of"]
    assert " ".join(rows[2][2:]) == "very good: of the set ball alone"


@pytest.mark.parametrize(
    ("key", "values", "verdicts"),
    [
        ("ood/ratio/mean/auroc", (0.5, 0.8, 0.95, 1.0), "poor, fair, good, very good"),
        ("ood/ratio/p_value_min", (0.005, 0.02, 0.1), "good, fair, too few inliers"),
        ("train/bpd", (3.7, 3.6), "not overfitted, overfitted"),
        ("test/integral", (1.0, 0.9), "good, poor"),
        ("posterior/sbc_p", (0.5, 0.001), "passed, failed"),
        ("test/bpd", (3.0,), ""),
    ],
)
def test_a_card_says_whether_a_number_is_good(key, values, verdicts):
    found = []
    for value in values:
        metrics = {"test/bpd": 3.75, key: value}
        chosen = {each.key: each for each, _ in choose_headlines(metrics, "ratio")}
        found.append(chosen[key].verdict(metrics))
    assert ", ".join(found) == verdicts


def test_a_run_without_scores_has_no_score_in_its_table():
    found = {each.key for each, _ in choose_headlines(METRICS, None)}
    assert found == {"test/bpd", "roundtrip/max_error"}
    assert table({}, None) == []


def test_a_failed_test_of_calibration_is_a_warning():
    passed = {"posterior/sbc_p": 0.01, "posterior/energy_p": 0.0}
    assert warn_of_calibration(passed) is None
    failed = passed | {"posterior/lc2st_p": 0.002, "posterior/coverage_p": 1e-9}
    expected = "the posterior is not calibrated: coverage p = 1e-09, L-C2ST p = 0.002"
    assert warn_of_calibration(failed) == expected


def test_the_sentence_on_detection_names_every_set_and_the_threshold():
    flagged = {"dog": 0.984, "ball": 1.0, "test": 0.06}
    metrics = {f"ood/ratio/{name}/flagged": share for name, share in flagged.items()}
    metrics |= {"ood/ratio/threshold": -12.5, "test/bpd": 4.0, "ood/other/dog/flagged": 0.1}
    assert describe_detection(metrics, "ratio") == (
        "Of 100 pictures of ball, 100 are stranger than 95 of 100 inliers; of dog, 98; of other "
        "inliers, 6. Stranger: the score ratio is above -12.5."
    )
    assert describe_detection(METRICS, "ratio") == ""
    assert describe_detection(metrics, None) == ""


@pytest.mark.parametrize(
    ("init", "general", "headline", "line"),
    [
        ("A", "A", "ratio", "starts from A; headline score: ratio to it"),
        ("A", "B", "ratio", "starts from A; headline score: ratio to B"),
        (None, "B", "ratio", "headline score: ratio to B"),
        ("A", "A", "sum", "starts from A; headline score: sum of ratio and last ratio to it"),
        ("A", "A", "likelihood", "starts from A; headline score: likelihood"),
        (None, None, "likelihood", ""),
        (None, "B", "likelihood", ""),
    ],
)
def test_the_line_on_the_flows_that_a_run_uses(init, general, headline, line):
    scores = {"ratio": {"against": "general"}, "likelihood": {}, "absent": None}
    scores |= {"last_ratio": {"against": "general"}, "sum": {"scores": ["ratio", "last_ratio"]}}
    score = {"headline": headline, "scores": scores}
    config = {"init": init, "companions": {"general": general}, "score": score}
    assert describe_models(config) == line
    assert describe_models({"score": {}}) == ""
