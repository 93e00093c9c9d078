import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import leave_one_out_p_values, p_values


def test_p_values_count_calibration_scores_at_least_as_high():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    scores = np.array([0.0, 2.0, 2.5, 3.0, 4.0])
    np.testing.assert_allclose(p_values(calibration, scores) * 5, [5, 4, 2, 2, 1])


def test_leave_one_out_equals_leaving_each_out():
    calibration = np.round(np.random.default_rng(0).normal(size=40), 1)
    expected = [p_values(np.delete(calibration, i), calibration[[i]])[0] for i in range(40)]
    np.testing.assert_allclose(leave_one_out_p_values(calibration), expected)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("level", [0.05, 0.1, 0.3, 0.7])
def test_p_values_are_super_uniform(level, ties):
    # Exchangeable: calibration and item drawn alike, from a law with heavy tails.
    rng = np.random.default_rng(1)
    scores = rng.standard_cauchy(size=(20_000, 20))
    if ties:
        scores = np.round(scores)
    p = np.array([p_values(row[1:], row[:1])[0] for row in scores])
    rate, error = np.mean(p <= level), np.sqrt(level / len(p))
    assert rate <= level + 3 * error
    if not ties:
        # Without ties, the p-value is uniform on 1/20, 2/20, ..., 1.
        assert rate == pytest.approx(np.floor(level * 20 + 1e-9) / 20, abs=3 * error)


def test_nan_and_empty_scores_are_refused():
    with pytest.raises(InnflowError, match="NaN"):
        p_values(np.array([1.0, np.nan]), np.array([1.0]))
    with pytest.raises(InnflowError, match="1 scores are NaN"):
        p_values(np.array([1.0]), np.array([np.nan]))
    with pytest.raises(InnflowError, match="no calibration"):
        p_values(np.zeros(0), np.array([1.0]))
