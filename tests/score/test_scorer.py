import logging
from dataclasses import replace

import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import (
    Combined,
    LatentDistance,
    Likelihood,
    Measured,
    NearestNeighbours,
    Ratio,
    Scale,
    Scorer,
    Typicality,
    Waic,
    p_values,
)

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
    named = ["likelihood", "far", "typical"]
    p = [f"{name}_p" for name in named]
    limit = ["p_value_min", "calibration_items"]
    assert list(result) == ["score", "p_value", *limit, "log_prob", *named, *p]
    np.testing.assert_array_equal(result["score"], result["likelihood"])
    np.testing.assert_array_equal(result["log_prob"], items.log_prob)
    calibration = Likelihood()(measured(99, seed=1))
    np.testing.assert_array_equal(result["p_value"], p_values(calibration, result["score"]))


@pytest.mark.parametrize("name", ["likelihood", "far", "typical"])
def test_every_score_has_its_own_p_value(fitted, name):
    items = measured(30, seed=2)
    result = fitted(items)
    calibration = fitted.scores[name](measured(99, seed=1))
    np.testing.assert_array_equal(result[f"{name}_p"], p_values(calibration, result[name]))
    assert fitted.calibration[name].shape == (99,)


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


def test_a_scorer_that_was_never_fitted_is_refused(tmp_path):
    with pytest.raises(InnflowError, match="never fitted"):
        make()(measured())
    with pytest.raises(InnflowError, match="never fitted"):
        make().save(tmp_path / "scorer.npz")
    assert not make().fitted


def test_a_nan_score_is_named(fitted):
    items = measured(5)
    log_prob = items.log_prob.copy()
    log_prob[3] = np.nan
    broken = Measured(log_prob, items.terms, items.logabsdet, items.latent, items.data)
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
    with pytest.raises(InnflowError, match="headline score is likelihood"):
        make("far").load(path)


def test_a_file_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "scorer.npz"
    scorer = Scorer({"scale": Scale(0)}, "scale")
    scorer.fit(measured(50), measured(20, seed=1))
    scorer.save(path)
    Scorer({"scale": Scale(0)}, "scale").load(path)
    with pytest.raises(InnflowError, match=r"holds .*index=0.* expected .*index=-1"):
        Scorer({"scale": Scale(-1)}, "scale").load(path)


def test_a_file_of_an_older_innflow_is_refused_in_one_line(tmp_path):
    path = tmp_path / "scorer.npz"
    np.savez(path, format=np.array("innflow scorer 1"), calibration=np.zeros(3))
    again = r"another version of innflow .*train the run again"
    with pytest.raises(InnflowError, match=again) as caught:
        make().load(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_calibration_is_refused(fitted, tmp_path):
    path = tmp_path / "scorer.npz"
    fitted.save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "calibration/far"}
    np.savez(path, **arrays)
    with pytest.raises(InnflowError, match="damaged scorer: lacks calibration/far"):
        make().load(path)


def test_names_must_not_collide_with_columns():
    with pytest.raises(InnflowError, match="'p_value' is taken"):
        Scorer({"p_value": Likelihood()}, "p_value")
    with pytest.raises(InnflowError, match="headline score 'other' is not one of likelihood"):
        Scorer({"likelihood": Likelihood()}, "other")
    with pytest.raises(InnflowError, match="'far_p' is taken"):
        Scorer({"far_p": Likelihood(), "far": Likelihood()}, "far")


def test_infinite_scores_are_kept_counted_and_announced(fitted, caplog):
    items = measured(6)
    log_prob = items.log_prob.copy()
    log_prob[[1, 4]] = -np.inf, np.inf
    with caplog.at_level(logging.WARNING):
        result = fitted(replace(items, log_prob=log_prob))
    assert "score likelihood: infinite for 2 of 6 items" in caplog.messages
    assert result["likelihood"][1] == np.inf
    assert result["likelihood"][4] == -np.inf
    assert result["p_value"][1] == 1 / 100
    assert result["p_value"][4] == 1.0
    caplog.clear()
    fitted(items)
    assert not caplog.messages


def test_missing_companions_are_refused_before_training(refused):
    scores = {"a": Ratio(), "b": Ratio("background", -1), "c": Waic(["general", "second"])}
    scorer = Scorer(scores, "a")
    scorer.check(("general", "background", "second"))
    for name in ("general", "background", "second"):
        with refused(f"companions.{name}=DIR"):
            scorer.check({"general", "background", "second"} - {name})
    make().check(())


def combining(**others):
    scores = {"both": Combined(["likelihood", "near"]), "likelihood": Likelihood()}
    return Scorer({**scores, "near": NearestNeighbours(k=1), **others}, "both")


def test_a_composite_is_made_of_the_values_of_its_parts():
    scorer = combining()
    scorer.fit(measured(200), measured(99, seed=1))
    result = scorer(measured(40, seed=2))
    assert list(result)[5:8] == ["both", "likelihood", "near"]
    parts = {name: result[name] for name in ("likelihood", "near")}
    np.testing.assert_array_equal(result["both"], scorer.scores["both"](parts))
    assert (scorer.scores["both"].weights_ > 0).all()


def test_a_composite_is_fitted_on_items_that_are_new_to_its_parts():
    """A training item is its own nearest neighbour: fitted on train, its distance would be 0."""
    train = measured(200)
    scorer = combining()
    scorer.fit(train, measured(99, seed=1))
    assert not scorer.scores["near"](train).any()
    near = np.empty(200)
    for start in (0, 1):
        half = NearestNeighbours(k=1)
        half.fit(train[start::2])
        near[1 - start :: 2] = half(train[1 - start :: 2])
    expected = Combined(["likelihood", "near"])
    expected.fit({"likelihood": -train.log_prob, "near": near})
    np.testing.assert_allclose(scorer.scores["both"].weights_, expected.weights_)
    np.testing.assert_allclose(scorer.scores["both"].center_, expected.center_)
    # Afterwards the parts know the whole training set.
    np.testing.assert_array_equal(scorer.scores["near"].train_, train.data)


def test_p_values_of_a_composite_are_valid():
    rates = []
    for seed in range(0, 120, 3):
        scorer = combining()
        scorer.fit(measured(60, seed), measured(39, seed + 1))
        rates.append(np.mean(scorer(measured(50, seed + 2))["p_value"] <= 0.1))
    # The standard error of a run is about 0.06: a binomial beside a calibration of 39.
    assert np.mean(rates) == pytest.approx(0.1, abs=3 * 0.06 / np.sqrt(len(rates)))


def test_a_composite_is_saved_and_loaded(tmp_path):
    scorer = combining()
    scorer.fit(measured(80), measured(39, seed=1))
    scorer.save(tmp_path / "scorer.npz")
    loaded = combining().load(tmp_path / "scorer.npz")
    items = measured(30, seed=2)
    for name, values in scorer(items).items():
        np.testing.assert_array_equal(loaded(items)[name], values)


def test_parts_must_be_plain_scores_of_the_scorer():
    with pytest.raises(InnflowError, match="score again: its part 'both' is not one of likelihood"):
        combining(again=Combined(["both"]))
    with pytest.raises(InnflowError, match="score sum: its part 'gone' is not one of far"):
        Scorer({"sum": Combined(["gone"]), "far": LatentDistance()}, "far")


def test_a_score_of_none_is_left_out():
    scorer = Scorer({"likelihood": Likelihood(), "ratio": None}, "likelihood")
    assert list(scorer.scores) == ["likelihood"]
    with pytest.raises(InnflowError, match="headline score 'ratio' is not one of likelihood"):
        Scorer({"likelihood": Likelihood(), "ratio": None}, "ratio")
