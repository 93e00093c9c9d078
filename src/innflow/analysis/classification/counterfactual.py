"""Counterfactuals of test items in other classes, class means and draws of each class."""

from dataclasses import dataclass
from textwrap import fill

import numpy as np
import torch

from innflow.analysis.classification.classifier import draw_class, labels_of, require_classifier
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.plane import plot_moves

SHOWN = 10
# Largest number of classes in a figure; the first ones are shown.
MOST = 20


@dataclass
class Counterfactual(Analysis):
    """Decode class means, draw from each class, and transfer test items to other classes.

    A counterfactual has the latent vector of an item except for the class part, which is moved to
    the same position relative to the mean of the other class.

        >>> Counterfactual(items=4).tested
        512

    Attributes:
        items: test items in the figure, transferred to every class.
        tested: test items transferred to one other class each, for the metrics.
        temperature: of the draws from each class.
    """

    items: int = 8
    tested: int = 512
    temperature: float = 0.7

    def check(self, study: Study) -> None:
        """Raise InnflowError for an application without at least two classes."""
        require_classifier(study, "counterfactual", least=2)

    def __call__(self, study: Study) -> Findings:
        """Return `counterfactual/reached` and `counterfactual/distance` with the figures."""
        app = require_classifier(study, "counterfactual", least=2)
        classes = len(app.classes)
        x, labels = study.measure("test").data, labels_of(study, "test")
        rng = np.random.default_rng(study.seed)
        chosen = rng.permutation(len(x))[: study.count(self.tested, 32)]
        target = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
        moved = self._move(study, x[chosen], labels[chosen], target)
        # Images are classified as they are saved: in whole grey levels.
        final = study.round(moved) if study.is_image else moved
        reached = float(np.mean(in_batches(app.classify, final, "classify").argmax(1) == target))
        distance = _distance(final, x[chosen])
        other = _distance(x[chosen], x[chosen][_partners(labels[chosen], rng)])
        unit = "grey levels (root mean square over pixels)" if study.is_image else "data units"
        rounded = ", after rounding to whole grey levels" if study.is_image else ""
        text = (
            f"{len(chosen):,} test items, each transferred to another class chosen at random: the "
            f"flow assigns {reached:.1%} of them to the class they were transferred to{rounded}. "
            f"Median distance from the original: {np.median(distance):.3g} {unit}; between two "
            f"test items of different classes: {np.median(other):.3g}."
        )
        metrics = {
            "counterfactual/reached": reached,
            "counterfactual/distance": float(np.median(distance)),
            "counterfactual/distance_between_classes": float(np.median(other)),
        }
        if study.is_image:
            share = float(np.mean(np.abs(final - x[chosen]) >= 0.125 * (study.data.levels - 1)))
            metrics["counterfactual/changed_share"] = share
            text += (
                f" {share:.1%} of the pixel values change by an eighth of the grey scale or more."
            )
        findings = Findings("Classes and counterfactuals", text, metrics)
        if study.is_image:
            self._draw_images(study, findings, _one_each(labels, study.count(self.items, 2), rng))
        elif tuple(study.app.shape) == (2,):
            arrows = x[chosen[:40]], moved[:40], target[:40]
            means = app.class_means().cpu().numpy()
            findings.figures["counterfactuals"] = Plot(
                plot_moves(*arrows, means, app.classes, x[:2000]),
                f"{len(arrows[0])} test items (black), each with an arrow to its counterfactual in "
                "another class. Stars are decoded class means.",
            )
        return findings

    def _draw_images(self, study: Study, findings: Findings, chosen: np.ndarray) -> None:
        app = require_classifier(study, "counterfactual")
        names = [fill(name, 14) for name in app.classes[:MOST]]
        x, labels = study.measure("test").data[chosen], labels_of(study, "test")[chosen]
        means = study.picture(app.class_means()[:MOST].cpu().numpy())
        parts = [slice(start, start + SHOWN) for start in range(0, len(names), SHOWN)]
        rows, notes = [means[part] for part in parts], [names[part] for part in parts]
        findings.figures["class_means"] = Plot(
            plot_image_rows(rows, [""] * len(rows), notes=notes),
            "Decoded mean of each class; all other latents are 0.",
        )
        classes = range(len(names))
        drawn = [draw_class(study, label, SHOWN, self.temperature) for label in classes]
        findings.figures["draws"] = Plot(
            plot_image_rows([study.picture(images) for images in drawn], names),
            f"Draws from p(x | class) at temperature {self.temperature:g}, not selected.",
        )
        moved = [self._move(study, x, labels, np.full(len(x), label)) for label in classes]
        own = [names[label] for label in labels.clip(max=MOST - 1)]
        rows = [study.picture(images) for images in (x, *moved)]
        targets = ["original", *(f"as {name}" for name in names)]
        findings.figures["counterfactuals"] = Plot(
            plot_image_rows(rows, targets, notes=[own]),
            "Test items and their counterfactuals in each class, with the same z. In its true "
            "class an item is reproduced.",
        )

    @staticmethod
    def _move(study: Study, x: np.ndarray, label: np.ndarray, target: np.ndarray) -> np.ndarray:
        app = require_classifier(study, "counterfactual")
        items, labels, targets = (torch.tensor(rows) for rows in (x, label, target))
        return in_batches(
            lambda rows: app.counterfactual(items[rows], labels[rows], targets[rows]),
            np.arange(len(x)),
            "counterfactuals",
        )


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Euclidean distances of vectors, root mean square differences of images, (N,)."""
    square = np.square(a.astype(np.float64) - b).reshape(len(a), -1)
    return np.sqrt(square.mean(axis=1) if a.ndim == 4 else square.sum(axis=1))


def _partners(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each item the position of one of another class, found in at most 20 tries."""
    partner = rng.permutation(len(labels))
    for _ in range(20):
        same = np.flatnonzero(labels[partner] == labels)
        partner[same] = rng.integers(len(labels), size=len(same))
    return partner


def _one_each(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions of `count` items, spread over the classes, in order of label."""
    order = rng.permutation(len(labels))
    first = [order[labels[order] == label] for label in np.unique(labels)]
    turns = [rows[turn] for turn in range(count) for rows in first if turn < len(rows)]
    return np.array(sorted(turns[:count], key=lambda row: labels[row]))
