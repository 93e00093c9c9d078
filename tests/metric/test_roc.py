import math
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from innflow.errors import InnflowError
from innflow.metric import auroc, compute_ood


def aupr(inliers, outliers):
    return compute_ood(inliers, outliers, resamples=2)["aupr"].value


def fpr_at_tpr(inliers, outliers):
    return compute_ood(inliers, outliers, resamples=2)["fpr95"].value


def draw(seed, n=200, m=90, ties=False):
    rng = np.random.default_rng(seed)
    inliers, outliers = rng.normal(size=n), rng.normal(0.8, 1.3, size=m)
    return (np.round(inliers, 0), np.round(outliers, 0)) if ties else (inliers, outliers)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_sklearn(seed, ties):
    inliers, outliers = draw(seed, ties=ties)
    scores = np.r_[inliers, outliers]
    is_outlier = np.r_[np.zeros(len(inliers)), np.ones(len(outliers))]
    assert auroc(inliers, outliers) == pytest.approx(roc_auc_score(is_outlier, scores))
    assert aupr(inliers, outliers) == pytest.approx(average_precision_score(is_outlier, scores))
    # Accepting inliers: they are the positive class and a low score is a sure inlier.
    false, true, _ = roc_curve(1 - is_outlier, -scores, drop_intermediate=False)
    assert fpr_at_tpr(inliers, outliers) == pytest.approx(false[true >= 0.95].min())


def test_auroc_of_two_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    distance = 1.2
    inliers, outliers = rng.normal(size=40_000), rng.normal(distance, size=40_000)
    exact = 0.5 * (1 + math.erf(distance / 2))  # Phi(d / sqrt 2)
    assert auroc(inliers, outliers) == pytest.approx(exact, abs=0.005)
    # The rate at which N(d, 1) lies below the 95% quantile of N(0, 1).
    accepted = 0.5 * (1 + math.erf((1.6448536 - distance) / math.sqrt(2)))
    assert fpr_at_tpr(inliers, outliers) == pytest.approx(accepted, abs=0.01)


def test_direction_and_extremes():
    low, high = np.arange(20.0), np.arange(100.0, 110.0)
    assert (auroc(low, high), aupr(low, high), fpr_at_tpr(low, high)) == (1, 1, 0)
    assert (auroc(high, low), fpr_at_tpr(high, low)) == (0, 1)
    same = np.zeros(10)
    assert auroc(same, same) == 0.5
    assert fpr_at_tpr(same, same) == 1


def test_fpr_accepts_nineteen_of_twenty_inliers():
    inliers = np.arange(20.0)
    assert fpr_at_tpr(inliers, [18.0, 18.5]) == 0.5


def test_infinite_scores_rank_as_extremes():
    assert auroc([0.0, 1.0], [math.inf, 2.0]) == 1


@pytest.mark.parametrize("function", [auroc, compute_ood])
def test_nan_and_empty_are_refused(function):
    with pytest.raises(InnflowError, match="1 of 2 scores of outliers are NaN"):
        function([0.0, 1.0], [math.nan, 1.0])
    with pytest.raises(InnflowError, match="no inliers"):
        function([], [1.0])


def test_intervals_hold_the_estimate_and_repeat():
    inliers, outliers = draw(0)
    first, again = compute_ood(inliers, outliers, seed=3), compute_ood(inliers, outliers, seed=3)
    other = compute_ood(inliers, outliers, seed=4)
    assert first == again != other
    assert first["auroc"].value == auroc(inliers, outliers)
    assert first["aupr"].value == aupr(inliers, outliers)
    assert first["fpr95"].value == fpr_at_tpr(inliers, outliers)
    for estimate in first.values():
        assert estimate.low < estimate.value < estimate.high


def test_interval_of_auroc_has_the_width_of_the_plain_bootstrap():
    inliers, outliers = draw(1, 120, 60)
    estimate = compute_ood(inliers, outliers, resamples=4000)["auroc"]
    rng = np.random.default_rng(9)
    plain = [
        auroc(rng.choice(inliers, len(inliers)), rng.choice(outliers, len(outliers)))
        for _ in range(1500)
    ]
    low, high = np.quantile(plain, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.012)
    assert estimate.high == pytest.approx(high, abs=0.012)


def test_intervals_cover_the_truth_at_about_their_level():
    exact = 0.5 * (1 + math.erf(1 / 2))
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(100):
        found = compute_ood(rng.normal(size=80), rng.normal(1, size=80), seed=seed)["auroc"]
        hits += found.low <= exact <= found.high
    assert 86 <= hits <= 100


def test_blocks_of_resamples_are_bounded_and_equal(monkeypatch):
    inliers, outliers = draw(2)
    monkeypatch.setattr("innflow.metric.roc.BLOCK", 290 * 7)
    small = compute_ood(inliers, outliers, resamples=50)
    assert small["auroc"].low < small["auroc"].high


def test_sixteen_bootstraps_of_the_usual_size_take_seconds():
    inliers, outliers = draw(3, 500, 150)
    started = time.process_time()
    for _ in range(16):
        compute_ood(inliers, outliers, resamples=1000)
    assert time.process_time() - started < 10
