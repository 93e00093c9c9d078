import numpy as np
import pytest
from scipy import stats

from innflow.metric import pearson, spearman, spearman_matrix

RNG = np.random.default_rng(0)


def test_correlations_are_those_of_scipy():
    a = RNG.normal(size=200)
    b = np.round(a + RNG.normal(size=200), 1)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_a_monotone_map_has_rank_correlation_one_and_may_reach_infinity():
    a = RNG.normal(size=50)
    assert spearman(a, np.exp(3 * a)) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)
    far = np.where(a == a.max(), np.inf, a)
    assert spearman(a, far) == pytest.approx(1)


def test_there_is_no_correlation_with_a_constant_or_of_two_items():
    for correlate in (pearson, spearman):
        assert np.isnan(correlate(np.full(9, 0.1), np.arange(9)))
        assert np.isnan(correlate(np.array([0.0, 1.0]), np.array([0.0, 1.0])))


def test_the_matrix_is_that_of_all_pairs():
    columns = RNG.normal(size=(40, 4))
    columns[:, 3] = 7
    matrix = spearman_matrix(columns)
    np.testing.assert_allclose(matrix[:3, :3], stats.spearmanr(columns[:, :3]).statistic)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.isnan(matrix[3, :3]).all()
