"""How well a flow tells classes apart, and whether its probabilities keep what they promise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from innflow.analysis.classification.classifier import labels_of, require_classifier
from innflow.analysis.classification.recalibration import (
    calibration_floor,
    class_probabilities,
    fit_width,
    log_loss,
)
from innflow.analysis.density.density2d import bounds, grid
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study, in_batches
from innflow.errors import InnflowError
from innflow.figure.classification.classes import plot_confusion, plot_regions
from innflow.figure.classification.reliability import plot_reliability
from innflow.figure.sample import plot_image_rows
from innflow.metric.calibration import (
    apply_temperature,
    compute_classification,
    confusion,
    fit_temperature,
    reliability,
)

SHOWN = 10
RESOLUTION = 200
NAMES = {
    "accuracy": "accuracy",
    "nll": "class_nll",
    "brier": "brier",
    "ece": "ece",
    "mce": "mce",
}
NONE, TEMPERATURE = "none", "temperature"


class Way(NamedTuple):
    """A way to probabilities.

    Attributes:
        probabilities: p(class | x) on test, (N, C).
        fitted: the temperature, or the factor on the class widths; 1 where nothing is fitted.
        loss: log loss on the set "val", nats.
    """

    probabilities: np.ndarray
    fitted: float
    loss: float


@dataclass
class Classification:
    """Tests p(class | x) on test: right labels, log loss, and calibration in three ways.

    Probabilities are mended on the set "val", which training has not seen, and reported on
    test: by temperature scaling, the baseline, and by the flow's own means, the width of its
    classes and, for images, the mean over dequantization noise (`recalibration.py`). Of the own
    ones the log loss on val chooses.

    Attributes:
        noise_draws: draws of the dequantization noise of an image to average over.
    """

    noise_draws: int = 8

    def check(self, study: Study) -> None:
        """Refuse an application that does not classify, or fewer than two classes."""
        if len(require_classifier(study, "classification").classes) < 2:
            raise InnflowError(
                "analysis classification: there is one class only, nothing to tell apart: leave "
                "it out of the analysis group"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `test/accuracy`, `test/class_nll`, `test/brier`, `test/ece` and the like."""
        self.check(study)
        names = require_classifier(study, "classification").classes
        labels = labels_of(study, "test")
        ways, chosen = self._ways(study)
        values = {
            name: compute_classification(way.probabilities, labels, seed=study.seed)
            for name, way in ways.items()
        }
        plain, mended = ways[NONE].probabilities, ways[chosen].probabilities
        floor = calibration_floor(mended, study.seed)
        findings = Findings("Classification", _text(study, values, chosen, floor))
        findings.metrics = _metrics(values, chosen) | {
            "test/ece_floor": floor,
            "calibration/temperature": ways[TEMPERATURE].fitted,
            "calibration/class_width": ways[chosen].fitted,
        }
        table = confusion(plain, labels)
        findings.tables = [_way_table(ways, values, chosen), _class_table(table, names)]
        findings.figures["reliability"] = Plot(
            plot_reliability(
                {
                    "as trained": reliability(plain, labels),
                    "temperature": reliability(ways[TEMPERATURE].probabilities, labels),
                    f"own: {chosen}": reliability(mended, labels),
                }
            ),
            "Accuracy on test against confidence, in 15 bins of confidence; bars are exact 95% "
            "intervals. Probabilities that keep their promise lie on the dashed line; by chance "
            f"even they show an ECE of {floor:.3f} on {len(labels):,} items.",
        )
        findings.figures["confusion"] = Plot(
            plot_confusion(table, names),
            f"What the {len(labels):,} items of test are called.",
        )
        if study.is_image:
            _add_mistakes(study, findings, plain, labels, names)
        elif tuple(study.app.shape) == (2,):
            _add_regions(study, findings, labels, names)
        return findings

    def _ways(self, study: Study) -> tuple[dict[str, Way], str]:
        """Return every way by its name, and the name of the flow's own one that val chooses."""
        mixture = require_classifier(study, "classification").mixture
        prior = mixture.log_prior.detach().cpu().double()
        volumes = (prior - mixture.log_scales.detach().cpu().double().sum(dim=1)).numpy()
        labels = labels_of(study, "val")
        val, test = (self._logits(study, name, prior.numpy()) for name in ("val", "test"))
        temperature = fit_temperature(val[0], labels)
        cooled = log_loss(val[:1] / temperature, volumes, 1.0, labels)
        ways = {
            NONE: Way(
                class_probabilities(test[:1], volumes, 1.0),
                1.0,
                log_loss(val[:1], volumes, 1.0, labels),
            ),
            TEMPERATURE: Way(apply_temperature(test[0], temperature), temperature, cooled),
        }
        own = {"class width": slice(0, 1)}
        if len(val) > 1:
            noise = slice(1, None)
            loss = log_loss(val[noise], volumes, 1.0, labels)
            ways["noise"] = Way(class_probabilities(test[noise], volumes, 1.0), 1.0, loss)
            own["class width and noise"] = noise
        for name, draws in own.items():
            factor = fit_width(val[draws], volumes, labels)
            loss = log_loss(val[draws], volumes, factor, labels)
            ways[name] = Way(class_probabilities(test[draws], volumes, factor), factor, loss)
        mine = [name for name in ways if name not in (NONE, TEMPERATURE)]
        return ways, min(mine, key=lambda name: ways[name].loss)

    def _logits(self, study: Study, name: str, prior: np.ndarray) -> np.ndarray:
        """Return log p(x | class) + log p(class), (1 + K, N, C): bin centres, then K draws."""
        app = require_classifier(study, "classification")
        x = study.measure(name).data
        passes = [in_batches(app.class_log_prob, x, f"classes of {name}")]
        seeds = itertools.count(study.seed)
        for draw in range(self.noise_draws if study.is_image else 0):
            noisy = in_batches(
                lambda batch: app.class_log_prob(batch, noise_seed=next(seeds)),
                x,
                f"classes of {name}, noise {draw + 1}",
            )
            passes.append(noisy)
        return np.stack(passes).astype(np.float64) + prior


def _metrics(values: dict[str, dict[str, float]], chosen: str) -> dict[str, float]:
    plain = values[NONE]
    metrics = {f"test/{key}": plain[key] for key in ("accuracy_low", "accuracy_high")}
    for suffix, way in (("", NONE), ("_temperature", TEMPERATURE), ("_calibrated", chosen)):
        for key, name in NAMES.items():
            metrics[f"test/{name}{suffix}"] = values[way][key]
    return metrics


def _text(study: Study, values: dict[str, dict[str, float]], chosen: str, floor: float) -> str:
    plain, scaled, own = values[NONE], values[TEMPERATURE], values[chosen]
    val, test = len(study.sets["val"]), len(study.sets["test"])
    return (
        f"Of {test:,} items of test {plain['accuracy']:.2%} get the right label (95% bootstrap "
        f"interval {plain['accuracy_low']:.2%} to {plain['accuracy_high']:.2%}); the log loss of "
        f"p(class | x) is {plain['nll']:.4f} nats and the expected calibration error (ECE) "
        f"{plain['ece']:.4f}.\n\n"
        f"Fitted on the {val:,} items of val, which neither trained the flow nor test it: "
        f"temperature scaling of the logits gives a log loss of {scaled['nll']:.4f} and an ECE of "
        f"{scaled['ece']:.4f}; the flow's own way, {chosen}, {own['nll']:.4f} and "
        f"{own['ece']:.4f}, with {own['accuracy']:.2%} right. Probabilities that are exactly right "
        f"would show an ECE of {floor:.4f} on so many items by chance. A factor on the widths of "
        "the classes is no temperature: it leaves the volumes and the prior of the classes alone "
        "in Bayes' rule, and what comes out is still a density of x."
    )


def _way_table(ways: dict[str, Way], values: dict[str, dict[str, float]], chosen: str) -> Table:
    rows = []
    for name, way in ways.items():
        label = f"{name} (chosen)" if name == chosen else name
        cells = [f"{values[name][key]:.4f}" for key in NAMES]
        rows.append([label, f"{way.fitted:.3g}", f"{way.loss:.4f}", *cells])
    columns = ["way", "fitted", "loss on val", "accuracy", "log loss", "Brier", "ECE", "MCE"]
    return Table("Probabilities on test, mended on val", columns, rows)


def _class_table(table: np.ndarray, names: list[str]) -> Table:
    rows = []
    for label, name in enumerate(names):
        own, right, called = table[label].sum(), table[label, label], table[:, label].sum()
        shares = [f"{right / total:.2%}" if total else "none" for total in (own, called)]
        rows.append([name, f"{own:,}", *shares])
    return Table("Classes on test, as trained", ["class", "items", "recall", "precision"], rows)


def _add_mistakes(
    study: Study, findings: Findings, p: np.ndarray, labels: np.ndarray, names: list[str]
) -> None:
    called = p.argmax(axis=1)
    wrong = np.flatnonzero(called != labels)
    if not len(wrong):
        return
    worst = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][: 2 * SHOWN]
    notes = [f"{names[labels[i]]}, called\n{names[called[i]]} ({p[i].max():.2f})" for i in worst]
    images = study.picture(study.measure("test").data[worst])
    starts = range(0, len(worst), SHOWN)
    figure = plot_image_rows(
        [images[start : start + SHOWN] for start in starts],
        [""] * len(starts),
        notes=[notes[start : start + SHOWN] for start in starts],
    )
    findings.figures["mistakes"] = Plot(
        figure,
        f"The surest of the {len(wrong):,} mistakes on test: true class, what it is called, and "
        "with what probability.",
    )


def _add_regions(study: Study, findings: Findings, labels: np.ndarray, names: list[str]) -> None:
    app, x = require_classifier(study, "classification"), study.measure("test").data
    extent = bounds(x)
    p = in_batches(app.classify, grid(extent, RESOLUTION), "classes on a grid", 4096)
    shown = slice(0, 2000)
    figure = plot_regions(
        p.reshape(RESOLUTION, RESOLUTION, -1), extent, x[shown], labels[shown], names
    )
    findings.figures["regions"] = Plot(
        figure, "Who would be called what, also far from all data, and items of test."
    )
