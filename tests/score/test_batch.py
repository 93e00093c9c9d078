from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from innflow.errors import InnflowError
from innflow.score import batch_p_value, batch_power, p_values, typicality_p_value, typicality_power


def test_a_batch_of_three_by_counting_all_orders():
    calibration, scores = np.array([1.0, 2.0, 4.0, 6.0]), np.array([3.0, 5.0, 7.0])
    pooled = np.r_[calibration, scores].argsort().argsort()
    sums = [sum(chosen) for chosen in combinations(range(7), 3)]
    exact = np.mean([total >= pooled[4:].sum() for total in sums])
    assert batch_p_value(calibration, scores) == exact


@pytest.mark.parametrize(("n", "m"), [(200, 10), (37, 25), (5, 1)])
def test_it_is_the_exact_mann_whitney_test(n, m):
    rng = np.random.default_rng(n)
    calibration, scores = rng.normal(size=n), rng.normal(0.5, size=m)
    expected = mannwhitneyu(scores, calibration, alternative="greater", method="exact").pvalue
    assert batch_p_value(calibration, scores) == pytest.approx(expected, rel=1e-9)


def test_a_batch_of_one_is_an_item():
    rng = np.random.default_rng(0)
    calibration, scores = np.round(rng.normal(size=30), 1), np.round(rng.normal(size=20), 1)
    one_by_one = [batch_p_value(calibration, scores[[i]]) for i in range(20)]
    np.testing.assert_allclose(one_by_one, p_values(calibration, scores))


def test_the_extremes_are_one_order_of_all():
    calibration = np.arange(6.0)
    assert batch_p_value(calibration, np.array([7.0, np.inf])) == 1 / 28
    assert batch_p_value(calibration, np.array([-7.0, -np.inf])) == 1.0


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("level", [0.05, 0.2, 0.6])
def test_p_values_of_batches_are_super_uniform(level, ties):
    rng = np.random.default_rng(1)
    scores = rng.standard_cauchy(size=(4000, 25))
    if ties:
        scores = np.round(scores)
    p = np.array([batch_p_value(row[5:], row[:5]) for row in scores])
    rate, error = np.mean(p <= level), np.sqrt(level * (1 - level) / len(p))
    assert rate <= level + 3 * error
    if not ties:
        assert rate >= level - 3 * error - 0.01  # so fine a grid is nearly uniform


def test_power_grows_with_the_batch_and_inliers_are_flagged_at_alpha():
    rng = np.random.default_rng(2)
    calibration, inliers = rng.normal(size=(2, 400))
    outliers = rng.normal(0.7, size=300)
    powers = [
        batch_power(calibration, inliers, outliers, size, draws=1000) for size in (1, 5, 10, 20)
    ]
    found = [power.outliers for power in powers]
    assert found == sorted(found)
    # P(N(0.7, 1) > 1.645) = 0.17; ten items: a Mann-Whitney test of a shift of 0.7.
    assert found[0] == pytest.approx(0.17, abs=0.05)
    assert found[3] > 0.85
    # One calibration half serves all batches, so the share scatters about alpha.
    assert all(power.inliers < 0.12 for power in powers)
    again = batch_power(calibration, inliers, outliers, 5, draws=1000)
    assert again == powers[1]


def test_power_is_the_share_of_p_values_up_to_alpha():
    rng = np.random.default_rng(3)
    calibration, inliers, outliers = rng.normal(size=(3, 50))
    whole = batch_power(calibration, inliers, outliers + 1, 50, draws=2, alpha=0.5)
    assert whole.outliers == float(batch_p_value(calibration, outliers + 1) <= 0.5)
    assert whole.inliers == float(batch_p_value(calibration, inliers) <= 0.5)


def test_typicality_finds_batches_that_are_too_likely_or_too_unlikely():
    rng = np.random.default_rng(4)
    nll = 100 + rng.normal(size=500)
    entropy = 100.0
    assert typicality_p_value(nll, rng.normal(98.5, 0.2, 10), entropy) < 0.001
    assert typicality_p_value(nll, rng.normal(101.5, 0.2, 10), entropy) < 0.001
    # Ten items each far out, to both sides, are typical by their mean.
    assert typicality_p_value(nll, np.r_[np.full(5, 97.0), np.full(5, 103.0)], entropy) > 0.9


def test_typicality_is_uniform_over_batches_of_inliers():
    rng = np.random.default_rng(5)
    p = [
        typicality_p_value(
            rng.exponential(size=400), rng.exponential(size=8), 1.0, resamples=199, seed=i
        )
        for i in range(600)
    ]
    for level in (0.1, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.06)


def test_typicality_power_is_the_share_of_p_values_up_to_the_level():
    rng = np.random.default_rng(6)
    known, inliers, outliers = (rng.normal(m, 1, 200) for m in (0.0, 0.0, -2.0))
    power = typicality_power(known, inliers, outliers, 3, 400, 0.2, entropy=0.0)
    shares = []
    for values in (outliers, inliers):
        p = [
            typicality_p_value(known, rng.choice(values, 3, replace=False), 0.0) for _ in range(400)
        ]
        shares.append(np.mean(np.array(p) <= 0.2))
    assert power.outliers == pytest.approx(shares[0], abs=0.05)
    assert power.inliers == pytest.approx(shares[1], abs=0.08)


def test_what_cannot_be_tested_is_refused():
    scores = np.zeros(5)
    with pytest.raises(InnflowError, match="1 scores are NaN"):
        batch_p_value(scores, np.array([np.nan]))
    with pytest.raises(InnflowError, match="no calibration scores"):
        batch_p_value(scores[:0], scores)
    with pytest.raises(InnflowError, match="there are no scores"):
        typicality_p_value(scores, scores[:0], 0.0)
    with pytest.raises(InnflowError, match="batches of 6: there are 5 outliers"):
        batch_power(scores, scores, scores, 6)
    with pytest.raises(InnflowError, match=r"batch of 2000 items .* at most 100$"):
        batch_p_value(np.zeros(1000), np.zeros(2000))
