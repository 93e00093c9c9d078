"""How scores and models rank items."""

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest

from analysis.linear import image_study, plane_study
from innflow.analysis import Agreement, Ranking
from innflow.metric import spearman


@pytest.fixture(scope="module")
def study():
    return image_study()


@pytest.mark.parametrize("settings", [(3, 2), (1, 0)])
def test_ranking_runs_without_a_warning(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        findings = Ranking(shown=3)(image_study(*settings))
        for plot in findings.figures.values():
            plot.figure.savefig(io.BytesIO(), format="png")
    assert findings.figures.keys() == {"spearman", "images"}


def test_scores_of_one_order_are_named_and_drawn_once(study):
    findings = Ranking()(study)
    metrics = findings.metrics
    assert metrics["ranking/bits_per_dim/spearman_headline"] == pytest.approx(1)
    pooled = {
        name: np.concatenate(
            [study.scorer(study.measure(s))[name] for s in ("test", "dog", "ball")]
        )
        for name in ("likelihood", "typicality")
    }
    exact = spearman(pooled["likelihood"], pooled["typicality"])
    assert metrics["ranking/typicality/spearman_headline"] == pytest.approx(exact)
    labels = [text.get_text() for text in findings.figures["images"].figure.axes[0].texts]
    assert "likelihood\n(and bits per dim)" in labels
    assert len(findings.tables[0].rows) == 4


def test_the_ends_are_the_lowest_and_the_highest_scores(study, monkeypatch):
    seen = {}

    def keep(pictures, sets, ends, colors):
        seen.update(pictures=pictures, sets=sets, ends=ends)
        return plot(pictures, sets, ends, colors)

    from innflow.analysis.ood import ranking

    plot = ranking.plot_ranking
    monkeypatch.setattr(ranking, "plot_ranking", keep)
    Ranking(shown=2)(study)
    low, high = seen["ends"]["likelihood\n(and bits per dim)"]
    score = {s: study.scorer(study.measure(s))["likelihood"] for s in ("test", "dog", "ball")}
    top = max(score, key=lambda name: score[name].max())
    assert seen["sets"][high[-1]] == top
    strangest = study.measure(top).data[score[top].argmax()]
    np.testing.assert_array_equal(seen["pictures"][high[-1]], strangest)
    bottom = min(score, key=lambda name: score[name].min())
    usual = study.measure(bottom).data[score[bottom].argmin()]
    np.testing.assert_array_equal(seen["pictures"][low[0]], usual)


def test_vectors_get_the_comparison_alone():
    findings = Ranking()(plane_study())
    assert findings.figures.keys() == {"spearman"}


def test_a_single_score_is_refused(refused):
    study = plane_study()
    study.scorer.scores = {"likelihood": study.scorer.scores["likelihood"]}
    with refused("only one score", "analysis.ranking=null"):
        Ranking().check(study)


def with_companions(study, **functions):
    study.app.companions = dict.fromkeys(functions)
    for name in study.sets:
        items = study.measure(name)
        companions = {companion: function(items.terms) for companion, function in functions.items()}
        study._measured[name] = replace(items, companions=companions)
    return study


@pytest.mark.parametrize("make", [image_study, plane_study])
def test_companions_of_rising_and_falling_log_prob_agree_or_disagree_completely(make):
    study = with_companions(make(), same=lambda v: 2 * v + 1, opposite=lambda v: -3 * v)
    findings = Agreement()(study)
    for name in ("test", *study.outliers):
        for key in ("spearman", "scale_1", "scale_2"):
            assert findings.metrics[f"agreement/same/{name}/{key}"] == pytest.approx(1)
            assert findings.metrics[f"agreement/opposite/{name}/{key}"] == pytest.approx(-1)
    (table,) = findings.tables
    assert len(table.rows) == 2 * (1 + len(study.outliers))
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert len(findings.figures["agreement"].figure.axes) == 2


def test_models_of_other_scales_are_compared_as_a_whole():
    study = with_companions(image_study(), flat=lambda v: v)
    for name, items in study._measured.items():
        whole = -(items.log_prob[:, None] ** 3)
        study._measured[name] = replace(items, companions={"flat": whole})
    findings = Agreement()(study)
    assert "flat has 1 scales and the model 2" in findings.text
    assert not [key for key in findings.metrics if "scale" in key]
    assert findings.metrics["agreement/flat/dog/spearman"] == pytest.approx(-1)
    assert findings.tables[0].rows[0][-2:] == ["-", "-"]


def test_the_text_without_companions_names_the_key():
    findings = Agreement()(plane_study())
    assert "companions.NAME=DIR" in findings.text
    assert not findings.metrics
