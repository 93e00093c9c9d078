import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.metric import compute_independence, compute_normality


def pair(seed=0, n=300):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 2))


def test_independent_parts_pass():
    z, y = pair()
    result = compute_independence(z, y)
    assert result.p_value > 0.05
    assert abs(result.correlation) < 0.02


def test_dependence_is_found_where_the_correlation_is_zero():
    z, y = pair()
    mean = z.copy()
    mean[:, 0] += 0.6 * y[:, 1]
    assert compute_independence(mean, y).p_value < 0.01
    scale = z.copy()
    scale[:, 0] *= np.where(y[:, 0] > 0, 2.0, 0.3)
    assert abs(np.corrcoef(scale[:, 0], y[:, 0])[0, 1]) < 0.1
    assert compute_independence(scale, y).p_value < 0.01


def test_p_values_of_independent_parts_are_uniform():
    p = [
        compute_independence(*pair(seed, 40), seed=seed, permutations=49).p_value
        for seed in range(200)
    ]
    assert 0.04 <= np.mean(np.array(p) <= 0.1) <= 0.17


def test_correlation_is_one_for_a_rotation_and_free_of_units_of_y():
    z, y = pair()
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    y = y / y.std(axis=0)
    assert compute_independence(y, y).correlation == pytest.approx(1)
    whole = y @ turn
    result = compute_independence(whole / whole.std(axis=0), whole)
    assert result.correlation == pytest.approx(1)
    first = compute_independence(z, y)
    again = compute_independence(z, y * [1e6, 1e-3] + 4)
    assert again.correlation == pytest.approx(first.correlation, abs=1e-9)


def test_distance_correlation_equals_its_definition():
    """Szekely and Rizzo's U-centring, entry by entry."""
    z, y = pair(3, 12)
    y = y / y.std(axis=0)
    n = len(z)

    def centred(points):
        d = np.array([[np.linalg.norm(p - q) for q in points] for p in points])
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    out[i, j] = (
                        d[i, j]
                        - d[i].sum() / (n - 2)
                        - d[:, j].sum() / (n - 2)
                        + d.sum() / ((n - 1) * (n - 2))
                    )
        return out

    a, b = centred(z), centred(y)
    exact = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert compute_independence(z, y, permutations=9).correlation == pytest.approx(exact)


def test_rows_are_capped_and_chosen_by_the_seed():
    z, y = pair(0, 100)
    first = compute_independence(z, y, seed=1, rows=50, permutations=9)
    assert first == compute_independence(z, y, seed=1, rows=50, permutations=9)
    assert first.correlation != compute_independence(z, y, seed=2, rows=50, permutations=9)[0]


def test_constant_columns_of_y_are_left_out():
    z, y = pair(0, 50)
    padded = np.c_[y, np.ones(50)]
    assert compute_independence(z, padded).correlation == compute_independence(z, y).correlation
    with pytest.raises(InnflowError, match="same in every row"):
        compute_independence(z, np.ones((50, 1)))
    with pytest.raises(InnflowError, match="four rows or more"):
        compute_independence(z, y[1:])
    with pytest.raises(InnflowError, match="not finite"):
        compute_independence(z * [1, 1, np.inf], y)


def test_normality_names_the_dimension_that_is_not():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 5))
    assert compute_normality(z).p_value > 0.05
    z[:, 3] *= 1.3
    result = compute_normality(z)
    assert result.p_value < 0.01
    assert result.p_values.argmin() == result.distances.argmax() == 3
    assert result.distances.shape == (5,)
    with pytest.raises(InnflowError, match="without NaN"):
        compute_normality(np.where(z > 0, z, np.nan))


def test_normality_allows_for_the_number_of_dimensions():
    rng = np.random.default_rng(0)
    rejected = sum(compute_normality(rng.normal(size=(60, 20))).p_value < 0.05 for _ in range(40))
    assert rejected <= 7
