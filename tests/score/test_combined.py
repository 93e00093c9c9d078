import numpy as np
import pytest
from scipy.optimize import minimize

from innflow.errors import InnflowError
from innflow.metric import auroc
from innflow.score import Combined


def fitted(**values):
    score = Combined(list(values))
    score.fit(values)
    return score


def shares(score, **values):
    """Weights of the standardised scores."""
    spreads = [np.subtract(*np.quantile(v, [0.75, 0.25])) / 1.3489795 for v in values.values()]
    return score.weights_ * spreads


def draw(n=2000, seed=0, correlation=0.0):
    rng = np.random.default_rng(seed)
    a, noise = rng.normal(size=(2, n))
    return a, correlation * a + np.sqrt(1 - correlation**2) * noise


def test_two_equally_informative_scores_weigh_the_same():
    a, b = draw(correlation=0.5)
    values = {"a": 7 + 100 * a, "b": -3 + 0.01 * b}
    score = fitted(**values)
    np.testing.assert_allclose(shares(score, **values), 0.5, atol=0.05)
    np.testing.assert_allclose(score.center_, [7, -3], atol=5)
    # A shift of one standard deviation in each moves the sum by one.
    moved = {"a": values["a"] + 100, "b": values["b"] + 0.01}
    np.testing.assert_allclose(score(moved) - score(values), 1.0, atol=0.05)


def test_a_duplicate_adds_nothing():
    a, b = draw()
    pair, triple = {"a": a, "b": b}, {"a": a, "again": 3 * a + 1, "b": b}
    twice = shares(fitted(**triple), **triple)
    assert twice[0] == pytest.approx(twice[1])
    assert twice[0] + twice[1] == pytest.approx(shares(fitted(**pair), **pair)[0], abs=0.05)
    np.testing.assert_allclose(fitted(**triple)(triple), fitted(**pair)(pair), atol=0.2)


def test_a_score_of_pure_noise_costs_little():
    a, b = draw(correlation=0.3)
    noise = np.random.default_rng(9).normal(size=2000)
    values = {"a": a, "b": b, "noise": noise}
    strange = {"a": a + 2, "b": b + 2, "noise": noise[::-1]}
    score = fitted(**values)
    alone = auroc(a, a + 2)
    # Noise cannot be told from a score that is independent of the others: it costs a little.
    assert auroc(score(values), score(strange)) > alone - 0.02
    without = fitted(a=a, b=b)
    assert auroc(without(values), without(strange)) > alone


def test_a_score_that_others_outweigh_is_left_out_not_subtracted():
    """The sum of a and b shifts by sqrt 2 standard deviations, so one that shifts by 1 is noise."""
    a, b = draw()
    noise = np.random.default_rng(9).normal(size=2000)
    values = {"a": a, "b": b, "sum": a + b + 0.5 * noise}
    standardised = np.stack([a, b, values["sum"] / 1.5])
    assert np.linalg.solve(np.cov(standardised), np.ones(3))[2] < 0
    np.testing.assert_allclose(shares(fitted(**values), **values), [0.5, 0.5, 0], atol=0.05)
    score = fitted(**values)
    assert score.weights_[2] == 0
    endless = {**values, "sum": np.full(2000, np.inf)}  # 0 times infinity is no number
    np.testing.assert_array_equal(score(endless), score(values))


def test_the_weights_are_the_most_powerful_of_all_that_are_not_negative():
    rng = np.random.default_rng(4)
    raw = rng.normal(size=(3000, 5)) @ rng.normal(size=(5, 5))
    values = {str(i): column for i, column in enumerate(raw.T)}
    weights = shares(fitted(**values), **values)
    spread = np.subtract(*np.quantile(raw, [0.75, 0.25], axis=0)) / 1.3489795
    covariance = np.cov((raw / spread).T)

    def power(w):
        return w.sum() / np.sqrt(w @ covariance @ w)

    starts = rng.uniform(size=(20, 5))
    best = max(
        -minimize(lambda w: -power(w), start, bounds=[(1e-9, 10)] * 5).fun for start in starts
    )
    assert (weights == 0).any()
    assert power(weights) == pytest.approx(best, rel=2e-3)


def test_state_is_complete_and_infinity_is_kept():
    a, b = draw()
    score, other = fitted(a=a, b=b), Combined(["a", "b"])
    other.load_state(score.state())
    items = {"a": np.array([1.0, np.inf, 0.0]), "b": np.array([0.0, 0.0, -np.inf])}
    np.testing.assert_array_equal(other(items), score(items))
    assert list(score(items)[1:]) == [np.inf, -np.inf]


def test_what_cannot_be_combined_is_refused():
    a, b = draw(100)
    with pytest.raises(InnflowError, match="fit it on training inliers"):
        Combined(["a"])({"a": a})
    for names in ([], ["a", "a"]):
        with pytest.raises(InnflowError, match="must be names of different scores"):
            Combined(names)
    with pytest.raises(InnflowError, match="b is the same for half of the training inliers"):
        fitted(a=a, b=np.r_[b[:20], np.zeros(80)])
    with pytest.raises(InnflowError, match="b is not finite for 1 of 100"):
        fitted(a=a, b=np.r_[b[:99], np.inf])
