import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import LatentDistance, Likelihood, Measured, Scorer, Typicality, p_values

from .test_scores import measured


def make(headline="likelihood"):
    scores = {"likelihood": Likelihood(), "far": LatentDistance(), "typical": Typicality()}
    return Scorer(scores, headline)


@pytest.fixture
def fitted():
    scorer = make()
    scorer.fit(measured(300), measured(99, seed=1))
    return scorer


def test_columns_come_in_order(fitted):
    items = measured(30, seed=2)
    result = fitted(items)
    assert list(result) == ["score", "p_value", "log_prob", "likelihood", "far", "typical"]
    np.testing.assert_array_equal(result["score"], result["likelihood"])
    np.testing.assert_array_equal(result["log_prob"], items.log_prob)
    calibration = Likelihood()(measured(99, seed=1))
    np.testing.assert_array_equal(result["p_value"], p_values(calibration, result["score"]))


def test_headline_chooses_score_and_p_value():
    scorer = make("far")
    scorer.fit(measured(300), measured(99, seed=1))
    strange = scorer(measured(20, seed=3, shift=5.0))
    np.testing.assert_array_equal(strange["score"], strange["far"])
    np.testing.assert_allclose(strange["p_value"], 1 / 100)


def test_saved_and_loaded_scores_are_equal_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "scorer.npz")
    loaded = make().load(tmp_path / "scorer.npz")
    items = measured(30, seed=2)
    for name, values in fitted(items).items():
        np.testing.assert_array_equal(loaded(items)[name], values)
    assert [path.name for path in tmp_path.iterdir()] == ["scorer.npz"]


def test_a_scorer_that_was_never_fitted_says_so(tmp_path):
    with pytest.raises(InnflowError, match="never fitted"):
        make()(measured())
    with pytest.raises(InnflowError, match="never fitted"):
        make().save(tmp_path / "scorer.npz")
    assert not make().fitted


def test_a_nan_score_is_named(fitted):
    items = measured(5)
    log_prob = items.log_prob.copy()
    log_prob[3] = np.nan
    broken = Measured(log_prob, items.terms, items.logabsdet, items.latent, items.data, 6)
    with pytest.raises(InnflowError, match="score likelihood: NaN for 1 of 5"):
        fitted(broken)


def write_text(path):
    path.write_text("hello")


def write_npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def write_other_npz(path):
    np.savez(path, weights=np.zeros(3))


def write_pickled(path):
    np.savez(path, format=np.array([{"a": 1}], dtype=object))


@pytest.mark.parametrize("write", [write_text, write_npy, write_other_npz, write_pickled])
def test_files_of_another_kind_are_refused_in_one_line(write, tmp_path):
    path = tmp_path / "scorer.npz"
    write(path)
    with pytest.raises(InnflowError, match=r"scorer\.npz: .*not a scorer") as caught:
        make().load(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(fitted, tmp_path):
    path = tmp_path / "scorer.npz"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InnflowError, match="damaged"):
        make().load(path)
    with pytest.raises(InnflowError, match="no such file"):
        make().load(tmp_path / "other.npz")


def test_a_file_of_other_scores_is_refused(fitted, tmp_path):
    path = tmp_path / "scorer.npz"
    fitted.save(path)
    with pytest.raises(InnflowError, match="holds the scores"):
        Scorer({"likelihood": Likelihood()}, "likelihood").load(path)
    with pytest.raises(InnflowError, match="calibrated for likelihood"):
        make("far").load(path)


def test_names_must_not_collide_with_columns():
    with pytest.raises(InnflowError, match="'p_value' is taken"):
        Scorer({"p_value": Likelihood()}, "p_value")
    with pytest.raises(InnflowError, match="headline score 'other' is not one of likelihood"):
        Scorer({"likelihood": Likelihood()}, "other")
