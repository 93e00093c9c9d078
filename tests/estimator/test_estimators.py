"""Estimators: scikit-learn's own checks, exact answers, calibration, categories."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from innflow.estimator import FlowAnomalyDetector, FlowClassifier, FlowDensity, FlowPosterior

SMALL = {"depth": 2, "hidden": 8, "coupling": "affine", "max_steps": 20, "random_state": 0}


def fails(estimator) -> dict[str, str]:
    """Return the checks that do not hold, with the reason."""
    if isinstance(estimator, FlowClassifier):
        reason = "batches are drawn by rows: a weight of two is not the same as a row twice"
        return {"check_sample_weight_equivalence_on_dense_data": reason}
    return {}


@pytest.mark.extended
@parametrize_with_checks(
    [FlowDensity(**SMALL), FlowAnomalyDetector(**SMALL), FlowClassifier(**SMALL)],
    expected_failed_checks=fails,
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def normal() -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of a correlated normal distribution in units of its own."""
    random = np.random.default_rng(0)
    root = np.array([[2.0, 0.0], [30.0, 10.0]])
    x = random.normal(size=(2500, 2)) @ root.T + [5.0, -300.0]
    return x[:2000], x[2000:]


def test_a_density_is_that_of_a_normal_distribution(normal):
    train, test = normal
    root = np.array([[2.0, 0.0], [30.0, 10.0]])
    exact = multivariate_normal([5.0, -300.0], root @ root.T).logpdf(test)
    density = FlowDensity(coupling="affine", depth=2, max_steps=300, random_state=0).fit(train)
    found = density.score_samples(test)
    assert abs(found.mean() - exact.mean()) < 0.02
    assert np.abs(found - exact).mean() < 0.1
    drawn = density.sample(5000, random_state=1)
    assert np.allclose(np.cov(drawn.T), root @ root.T, rtol=0.15)


def test_a_density_integrates_to_one(normal):
    train, _ = normal
    density = FlowDensity(**SMALL | {"coupling": "spline"}).fit(train)
    axes = np.linspace(-25, 35, 400), np.linspace(-700, 100, 400)
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    assert np.exp(density.score_samples(grid)).sum() * cell == pytest.approx(1, abs=0.01)


def test_weights_choose_the_rows(normal):
    train, _ = normal
    shifted = np.concatenate([train, train + 1000.0])
    weight = np.repeat([0.0, 1.0], len(train))
    density = FlowDensity(**SMALL | {"max_steps": 200}).fit(shifted, sample_weight=weight)
    assert density.score(train + 1000.0) > density.score(train) + 5
    # Few rows have a weight: all validation rows could be among the others.
    weight = np.zeros(len(train))
    weight[:20] = 1.0
    density = FlowDensity(**SMALL).fit(train, sample_weight=weight)
    assert np.isfinite(density.score(train[:20]))


@pytest.mark.parametrize("rows", [60, 2500])
def test_p_values_of_normal_rows_are_uniform(rows, normal):
    random = np.random.default_rng(1)
    detector = FlowAnomalyDetector(**SMALL).fit(random.normal(size=(rows, 3)))
    p = detector.p_values(random.normal(size=(2000, 3)))
    assert p.min() >= 1 / (len(detector.calibration_) + 1)
    assert np.mean(p <= 0.1) == pytest.approx(0.1, abs=0.06 if rows == 60 else 0.03)
    assert (detector.p_values(np.full((1, 3), 8.0)) < 0.05).all()
    flagged = np.mean(detector.predict(random.normal(size=(2000, 3))) < 0)
    assert flagged == pytest.approx(0.05, abs=0.05)


def test_the_column_that_makes_a_row_strange_is_found():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4))
    detector = FlowAnomalyDetector(**SMALL).fit(x)
    strange = x[:20].copy()
    strange[:, 2] += 8.0
    assert (detector.explain(strange).argmax(axis=1) == 2).all()


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, **columns: np.ndarray) -> None:
        self.columns = list(columns)
        self.shape = (len(columns[self.columns[0]]), len(columns))
        self._values = columns

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name]

    def __len__(self) -> int:
        return self.shape[0]


def test_categories_and_missing_values():
    random = np.random.default_rng(0)
    number = random.normal(size=200)
    number[:20] = np.nan
    word = np.array(["red", "green"], dtype=object)[random.integers(0, 2, 200)]
    frame = Frame(size=number, colour=word)
    detector = FlowAnomalyDetector(**SMALL).fit(frame)
    other = Frame(size=np.zeros(2), colour=np.array(["red", "blue"], dtype=object))
    usual, unknown = detector.score_samples(other)
    assert unknown < usual
    label = np.where(word == "red", "a", "b")
    model = FlowClassifier(**SMALL | {"max_steps": 200}).fit(frame, label)
    assert model.score(frame, label) > 0.95
    with pytest.raises(ValueError, match="cannot be drawn"):
        model.sample("a")
    with pytest.raises(ValueError, match="column size has only missing values"):
        FlowAnomalyDetector(**SMALL).fit(Frame(size=np.full(9, np.nan), colour=word[:9]))
    with pytest.raises(ValueError, match="have no density"):
        FlowDensity(**SMALL).fit(frame)


def test_a_classifier_has_the_probabilities_of_bayes():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 2000)
    x = random.normal(size=(2000, 2)) + 2.0 * label[:, None]
    model = FlowClassifier(coupling="affine", depth=2, max_steps=300, random_state=0).fit(x, label)
    test = random.normal(size=(500, 2)) + 1.0
    exact = 1 / (1 + np.exp(-(2.0 * test.sum(axis=1) - 4.0)))
    assert np.abs(model.predict_proba(test)[:, 1] - exact).mean() < 0.03
    assert model.sample(1, 500, random_state=0).mean() == pytest.approx(2.0, abs=0.15)
    assert model.anomaly([[20.0, 20.0]]) > model.anomaly(x).max()


def test_a_posterior_is_that_of_a_linear_model():
    random = np.random.default_rng(0)
    theta = random.normal(size=(4000, 2))
    y = theta + 0.5 * random.normal(size=(4000, 2))
    posterior = FlowPosterior(coupling="affine", depth=2, max_steps=300, random_state=0)
    drawn = posterior.fit(theta, y).sample([1.0, -1.0], 4000, random_state=0)
    assert np.allclose(drawn.mean(axis=0), [0.8, -0.8], atol=0.05)
    assert np.allclose(drawn.std(axis=0), np.sqrt(0.2), atol=0.03)
    exact = multivariate_normal([0.8, -0.8], 0.2 * np.eye(2)).logpdf(drawn[:500])
    assert np.abs(posterior.log_prob(drawn[:500], [1.0, -1.0]) - exact).mean() < 0.1
    with pytest.raises(ValueError, match="expected"):
        posterior.sample([1.0])


def test_a_pipeline_a_search_and_a_copy(normal):
    train, test = normal
    pipe = make_pipeline(StandardScaler(), FlowDensity(**SMALL))
    search = GridSearchCV(pipe, {"flowdensity__depth": [1, 2]}, cv=2, refit=True).fit(train)
    copied = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(copied.score_samples(test), search.best_estimator_.score_samples(test))
    again = clone(search.best_estimator_).fit(train)
    assert np.array_equal(again.score_samples(test), search.best_estimator_.score_samples(test))
