"""Anomaly scores of every item, and the detection of outliers by each score."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import kstest

from innflow.analysis.examples import MOST_SETS
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.ood.gallery import list_extremes
from innflow.analysis.ood.ranking import order_titles
from innflow.analysis.study import Analysis, Study
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.ood.roc_curves import plot_histograms, plot_p_values, plot_roc
from innflow.metric import Estimate, compute_ood
from innflow.score import find_threshold, leave_one_out_p_values, p_values
from innflow.score.conformal import smallest_p_value
from innflow.score.scorer import column

log = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]
Found = Mapping[str, Mapping[str, Mapping[str, Estimate]]]
"""Score -> outlier set -> name of the metric -> estimate."""
LEVEL = 0.05
"""p-value up to which an item counts as flagged."""
SHOWN = 6
"""Number of images at each end of a set in the figure of extremes."""


@dataclass
class Scores(Analysis):
    """Score all sets, and evaluate each score on the evaluation half of the test set.

    The p-values in scores.csv are calibrated on all other test items. To evaluate them, they are
    calibrated on the calibration half alone.

        >>> Scores(resamples=100)
        Scores(resamples=100)

    Attributes:
        resamples: number of bootstrap resamples.
    """

    resamples: int = 1000

    def check(self, study: Study) -> None:
        """Raise InnflowError for a run without scores."""
        study.require_scorer("scores")

    def __call__(self, study: Study) -> Findings:
        """Score every set; `items` of the findings are the columns of scores.csv."""
        scorer = study.require_scorer("scores")
        columns = {name: scorer(study.measure(name)) for name in study.sets}
        calibration, note = _leave_one_out(study, columns["test"])
        notes = [note]
        findings = Findings("Anomaly scores", "", items=_items(study, columns))
        inliers = {key: values[study.test_index] for key, values in columns["test"].items()}

        p = p_values(calibration, inliers["score"])
        calibrated = len(calibration)
        prefix = f"ood/{scorer.headline}"
        findings.metrics[f"{prefix}/calibration_items"] = float(scorer.calibration_items)
        findings.metrics[f"{prefix}/p_value_min"] = scorer.p_value_min
        distance, critical = _uniformity(p, calibrated)
        verdict = "within" if distance <= critical else "BEYOND"
        notes.append(
            f"Kolmogorov-Smirnov distance of the p-values of the {len(p):,} inliers of the "
            f"evaluation half, calibrated on {calibrated:,}, from the uniform distribution: "
            f"{distance:.3f}, {verdict} the critical value {critical:.3f} at 5%."
        )
        resamples = study.count(self.resamples, 50)
        if study.outliers:
            outliers = {name: columns[name] for name in study.outliers}
            compute = partial(compute_ood, resamples=resamples, seed=study.seed)
            found = {
                score: {name: compute(inliers[score], of[score]) for name, of in outliers.items()}
                for score in study.score_names("scores")
            }
            findings.metrics |= _metrics(found)
            findings.metrics |= _flagged(
                scorer.headline, calibration, {"test": inliers, **outliers}
            )
            findings.tables.append(_table(found, outliers, len(p)))
            headline = scorer.headline
            mean = findings.metrics[f"ood/{headline}/mean/auroc"]
            listed = ", ".join(f"{name} {sets['auroc']}" for name, sets in found[headline].items())
            notes.insert(
                0,
                f"AUROC of the headline score {headline}: {listed}; mean over "
                f"{len(outliers)} sets {mean:.3f}. Inliers are the {len(p):,} items of the "
                "evaluation half of the test set; intervals are 95% percentile bootstrap "
                f"intervals of {resamples:,} stratified resamples. For AUROC and AUPR outliers "
                "are the positive class; FPR95 is the share of outliers accepted if 95% of the "
                "inliers are.",
            )
            findings.figures |= _figures(study, inliers, outliers)
        findings.figures["p_values"] = Plot(
            plot_p_values(p, calibrated, study.colors["test"]),
            f"Conformal p-values of the {len(p):,} inliers of the evaluation half of the test set. "
            "For a uniform distribution, 5% of the inliers are flagged at level 5%; the grey band "
            "contains a bar with probability 95%.",
        )
        if study.is_image:
            findings.figures["extremes"] = _plot_extremes(study, columns)
        findings.tables.append(list_extremes(study, columns))
        findings.text = "\n\n".join(notes)
        return findings


def _leave_one_out(study: Study, test: Columns) -> tuple[np.ndarray, str]:
    """Replace the p-values of test items by leave-one-out p-values, in place.

    Returns the headline scores on which p-values are calibrated when they are evaluated, and a text
    on the calibration.
    """
    scorer = study.require_scorer("scores")
    calibration, own = scorer.calibration[scorer.headline], test["score"]
    smallest = scorer.p_value_min
    text = (
        "The p-value of an item is the probability that an inlier has at least its score "
        f"{scorer.headline}. It is calibrated on {len(calibration):,} inliers, so that the "
        f"smallest possible p-value is {smallest:.2g}. "
    )
    if smallest > LEVEL:
        text += f"No item can be flagged at the level {LEVEL:g}: add inliers to the test set. "
        n = len(calibration)
        log.warning("p-values: %d calibration inliers, none can be below %.2g", n, smallest)
    if len(calibration) != len(own) or not np.allclose(np.sort(calibration), np.sort(own)):
        return calibration, f"{text}They are not the items of the test set."
    test["p_value"] = leave_one_out_p_values(own)
    for name in scorer.scores:
        test[column(name)] = leave_one_out_p_values(test[name])
    test["calibration_items"] = test["calibration_items"] - 1
    test["p_value_min"] = np.full(len(own), smallest_p_value(len(own) - 1))
    return own[study.calibration_index], (
        f"{text}They are the test set; none was trained on. In scores.csv a test item is compared "
        "with all others (leave one out). The p-values of the other scores, in the columns that "
        "end in _p, are calibrated in the same way."
    )


def _items(study: Study, columns: Mapping[str, Columns]) -> Columns:
    keys = next(iter(columns.values()))
    return {
        "path": np.array([path for name in columns for path in study.names(name)], dtype=object),
        **{key: np.concatenate([values[key] for values in columns.values()]) for key in keys},
        "set": np.repeat(
            np.array(list(columns), dtype=object), [len(v["score"]) for v in columns.values()]
        ),
    }


def _uniformity(p: np.ndarray, calibration: int) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance from uniform, and its critical value at 5%.

    All p-values share one calibration half, which is a random sample too, so the critical value is
    that of the two-sample test.
    """
    return kstest(p, "uniform").statistic, 1.358 * math.sqrt(1 / len(p) + 1 / calibration)


def _metrics(found: Found) -> dict[str, float]:
    metrics = {}
    for score, sets in found.items():
        for name, estimates in sets.items():
            for key, estimate in estimates.items():
                for end, value in estimate._asdict().items():
                    suffix = "" if end == "value" else f"_{end}"
                    metrics[f"ood/{score}/{name}/{key}{suffix}"] = value
        for key in ("auroc", "aupr", "fpr95"):
            values = [estimates[key].value for estimates in sets.values()]
            metrics[f"ood/{score}/mean/{key}"] = float(np.mean(values))
    return metrics


def _flagged(
    headline: str, calibration: np.ndarray, sets: Mapping[str, Columns]
) -> dict[str, float]:
    """Return the threshold of the headline score at `LEVEL`, and the share of each set above it."""
    threshold = find_threshold(calibration, LEVEL)
    if not math.isfinite(threshold):
        return {}
    shares = {
        f"ood/{headline}/{name}/flagged": float(np.mean(of["score"] > threshold))
        for name, of in sets.items()
    }
    return {f"ood/{headline}/threshold": threshold, **shares}


def _table(found: Found, outliers: Mapping[str, Columns], inliers: int) -> Table:
    rows, headline = [], next(iter(found))
    for score, sets in found.items():
        for name, estimates in sets.items():
            count = len(outliers[name]["score"])
            share = count / (count + inliers)
            cells = [str(estimates[key]) for key in ("auroc", "aupr", "fpr95")]
            label = f"{score} (headline)" if score == headline else score
            rows.append([label, name, f"{count:,}", *cells, f"{share:.3f}"])
    columns = ["score", "outliers", "items", "AUROC", "AUPR", "FPR95", "AUPR by chance"]
    title = f"Detection of outliers among {inliers:,} test inliers, with 95% intervals"
    return Table(title, columns, rows)


def _plot_extremes(study: Study, columns: Mapping[str, Columns]) -> Plot:
    sets = ["test", *study.outliers[:MOST_SETS]]
    places = {name: np.arange(len(columns[name]["score"])) for name in sets}
    places["test"] = study.test_index
    count = max(1, min(SHOWN, *(len(index) // 2 for index in places.values())))
    rows, notes = [], []
    for name, index in places.items():
        order = index[np.argsort(columns[name]["score"][index], kind="stable")]
        chosen = np.r_[order[:count], order[-count:]]
        rows.append(study.picture(study.measure(name).data[chosen]))
        notes.append([f"p {p:.3f}" for p in columns[name]["p_value"][chosen]])
    headings = ["least strange", *[""] * (2 * count - 2), "strangest"]
    return Plot(
        plot_image_rows(rows, sets, headings, notes, group=count),
        f"The {count} images of lowest (left) and of highest headline score (right) of the "
        "evaluation half of the test set and of the outlier sets, each with its p-value: the "
        "probability that an inlier is at least as strange.",
    )


def _figures(study: Study, inliers: Columns, outliers: Mapping[str, Columns]) -> dict[str, Plot]:
    names = study.score_names("scores")
    parts = (inliers, *outliers.values())
    pooled = [np.concatenate([part[name] for part in parts]) for name in names]
    titles = order_titles(names, np.stack(pooled, axis=1))
    curves = {
        title: (inliers[names[i]], {name: values[names[i]] for name, values in outliers.items()})
        for i, title in titles.items()
    }
    histograms = {title: {"test": inside, **sets} for title, (inside, sets) in curves.items()}
    scope = f"{len(inliers['score']):,} inliers of the evaluation half of the test set"
    return {
        "histograms": Plot(
            plot_histograms(histograms, study.colors),
            f"Distribution of each score over {scope} and over each outlier set; higher is more "
            "anomalous. The last bar includes the 1% of items beyond it.",
        ),
        "roc": Plot(
            plot_roc(curves, study.colors),
            f"ROC curves of each score, with {scope} as negatives and outliers as positives.",
        ),
    }
