"""Accuracy and calibration of the class probabilities of a flow."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from innflow.analysis.classification import recalibration
from innflow.analysis.classification.classifier import labels_of, require_classifier
from innflow.analysis.density.density2d import bounds, grid
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.figure.classification.classes import plot_regions
from innflow.figure.classification.reliability import plot_reliability
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.matrix import plot_confusion
from innflow.metric.class_calibration import compute_classification, fit_temperature, reliability

SHOWN = 10
RESOLUTION = 200
NAMES = {"accuracy": "accuracy", "nll": "class_nll", "brier": "brier", "ece": "ece", "mce": "mce"}
NONE, TEMPERATURE = "none", "temperature"


class Method(NamedTuple):
    """A method of recalibration.

    Attributes:
        probabilities: p(class | x) on test, (N, C).
        fitted: the temperature, or the factor on the class widths; 1 if nothing is fitted.
        loss: log loss on the set "val", nats.
    """

    probabilities: np.ndarray
    fitted: float
    loss: float


@dataclass
class Classification(Analysis):
    """Evaluate p(class | x) on test: accuracy, log loss, and calibration by several methods.

    Probabilities are recalibrated on the set "val", on which the flow is not trained: by
    temperature scaling as a baseline, and by two methods specific to flows: the width of the
    classes and, for images, the mean over dequantization noise (`recalibration.py`). The
    flow-specific method with the smallest log loss on val gives the calibrated metrics.

        >>> Classification(noise_draws=4)
        Classification(noise_draws=4)

    Attributes:
        noise_draws: draws of the dequantization noise of an image to average over.
    """

    noise_draws: int = 8

    def check(self, study: Study) -> None:
        """Raise InnflowError for an application without at least two classes."""
        require_classifier(study, "classification", least=2)

    def __call__(self, study: Study) -> Findings:
        """Return `test/accuracy`, `test/class_nll`, `test/brier`, `test/ece` and the like."""
        names = require_classifier(study, "classification", least=2).classes
        labels = labels_of(study, "test")
        methods, chosen = self._recalibrate(study)
        compute = partial(compute_classification, labels=labels, seed=study.seed)
        values = {name: compute(method.probabilities) for name, method in methods.items()}
        plain, own = methods[NONE].probabilities, methods[chosen].probabilities
        floor = recalibration.calibration_floor(own, study.seed)
        findings = Findings("Classification", _text(study, values, chosen, floor))
        findings.metrics = _metrics(values, chosen) | {
            "test/ece_floor": floor,
            "calibration/temperature": methods[TEMPERATURE].fitted,
            "calibration/class_width": methods[chosen].fitted,
        }
        table = confusion_matrix(labels, plain.argmax(axis=1), labels=np.arange(len(names)))
        findings.tables = [_method_table(methods, values, chosen), _class_table(table, names)]
        scaled = methods[TEMPERATURE].probabilities
        drawn = {"as trained": plain, "temperature": scaled, f"own: {chosen}": own}
        bins = {name: reliability(p, labels) for name, p in drawn.items()}
        findings.figures["reliability"] = Plot(
            plot_reliability(bins),
            "Accuracy on the test set against confidence, in 15 bins of confidence; bars are "
            "exact 95% confidence intervals. Calibrated probabilities lie on the dashed line; on "
            f"{len(labels):,} items they have an ECE of {floor:.3f} by chance.",
        )
        findings.figures["confusion"] = Plot(
            plot_confusion(table, names), f"Confusion matrix of the {len(labels):,} items of test."
        )
        if study.is_image:
            _add_mistakes(study, findings, plain, labels, names)
        elif tuple(study.app.shape) == (2,):
            _add_regions(study, findings, labels, names)
        return findings

    def _recalibrate(self, study: Study) -> tuple[dict[str, Method], str]:
        """Return every method by name, and the name of the best flow-specific method on val."""
        mixture = require_classifier(study, "classification").mixture
        prior = mixture.log_prior.detach().cpu().double()
        offsets = (prior - mixture.log_scales.detach().cpu().double().sum(dim=1)).numpy()
        labels = labels_of(study, "val")
        val, test = (self._logits(study, name, prior.numpy()) for name in ("val", "test"))

        def method(draws: slice, factor: float) -> Method:
            loss = recalibration.log_loss(val[draws], offsets, factor, labels)
            p = recalibration.class_probabilities(test[draws], offsets, factor)
            return Method(p, factor, loss)

        centres, noise = slice(0, 1), slice(1, None)
        temperature = fit_temperature(val[0], labels)
        scaled = softmax(test[0] / temperature, axis=1)
        loss = recalibration.log_loss(val[:1] / temperature, offsets, 1.0, labels)
        methods = {NONE: method(centres, 1.0), TEMPERATURE: Method(scaled, temperature, loss)}
        factor = recalibration.fit_width(val[centres], offsets, labels)
        methods["class width"] = method(centres, factor)
        if len(val) > 1:
            methods["noise"] = method(noise, 1.0)
            factor = recalibration.fit_width(val[noise], offsets, labels)
            methods["class width and noise"] = method(noise, factor)
        own = [name for name in methods if name not in (NONE, TEMPERATURE)]
        return methods, min(own, key=lambda name: methods[name].loss)

    def _logits(self, study: Study, name: str, prior: np.ndarray) -> np.ndarray:
        """Return log p(x | class) + log p(class), (1 + K, N, C): bin centres, then K draws."""
        app = require_classifier(study, "classification")
        x = study.measure(name).data
        passes = [in_batches(app.class_log_prob, x, f"classes of {name}")]
        for draw in range(study.count(self.noise_draws, 2) if study.is_image else 0):
            noisy = partial(app.class_log_prob, noise_seed=study.seed + draw)
            passes.append(in_batches(noisy, x, f"classes of {name}, noise {draw + 1}"))
        return np.stack(passes).astype(np.float64) + prior


def _metrics(values: dict[str, dict[str, float]], chosen: str) -> dict[str, float]:
    metrics = {f"test/{key}": values[NONE][key] for key in ("accuracy_low", "accuracy_high")}
    for suffix, method in (("", NONE), ("_temperature", TEMPERATURE), ("_calibrated", chosen)):
        for key, name in NAMES.items():
            metrics[f"test/{name}{suffix}"] = values[method][key]
    return metrics


def _text(study: Study, values: dict[str, dict[str, float]], chosen: str, floor: float) -> str:
    plain, scaled, own = values[NONE], values[TEMPERATURE], values[chosen]
    val, test = len(study.index("val")), len(study.index("test"))
    return (
        f"Accuracy on {test:,} items of test: {plain['accuracy']:.2%} (95% bootstrap interval "
        f"{plain['accuracy_low']:.2%} to {plain['accuracy_high']:.2%}). The log loss of "
        f"p(class | x) is {plain['nll']:.4f} nats and the expected calibration error (ECE) "
        f"{plain['ece']:.4f}.\n\n"
        f"Recalibrated on the {val:,} items of val, which are used neither for training nor for "
        "this evaluation: temperature scaling of the logits gives a log loss of "
        f"{scaled['nll']:.4f} and an ECE of {scaled['ece']:.4f}; the method specific to flows, "
        f"{chosen}, {own['nll']:.4f} and {own['ece']:.4f}, with an accuracy of "
        f"{own['accuracy']:.2%}. Perfectly calibrated probabilities have an ECE of {floor:.4f} on "
        "so many items by chance. Unlike a temperature, a factor on the widths of the classes "
        "leaves their volumes and prior probabilities in Bayes' rule unchanged, and the result "
        "is still a density of x."
    )


def _method_table(
    methods: dict[str, Method], values: dict[str, dict[str, float]], chosen: str
) -> Table:
    rows = []
    for name, method in methods.items():
        label = f"{name} (chosen)" if name == chosen else name
        cells = [f"{values[name][key]:.4f}" for key in NAMES]
        rows.append([label, f"{method.fitted:.3g}", f"{method.loss:.4f}", *cells])
    columns = ["method", "fitted", "loss on val", "accuracy", "log loss", "Brier", "ECE", "MCE"]
    return Table("Class probabilities on test, recalibrated on val", columns, rows)


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
    predicted = p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        return
    worst = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][: 2 * SHOWN]
    notes = [
        f"{names[labels[i]]}, predicted\n{names[predicted[i]]} ({p[i].max():.2f})" for i in worst
    ]
    images = study.picture(study.measure("test").data[worst])
    rows = [slice(start, start + SHOWN) for start in range(0, len(worst), SHOWN)]
    figure = plot_image_rows(
        [images[row] for row in rows], [""] * len(rows), notes=[notes[row] for row in rows]
    )
    findings.figures["mistakes"] = Plot(
        figure,
        f"The misclassified items of test ({len(wrong):,} in all) with the highest confidence: "
        "true class, predicted class and its probability.",
    )


def _add_regions(study: Study, findings: Findings, labels: np.ndarray, names: list[str]) -> None:
    app, x = require_classifier(study, "classification"), study.measure("test").data
    extent, resolution = bounds(x), study.count(RESOLUTION, 60)
    p = in_batches(app.classify, grid(extent, resolution), "classes on a grid", 4096)
    figure = plot_regions(
        p.reshape(resolution, resolution, -1), extent, x[:2000], labels[:2000], names
    )
    findings.figures["regions"] = Plot(
        figure, "p(class | x) over the plane, also far from all data, and items of the test set."
    )
