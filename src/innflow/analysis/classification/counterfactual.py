"""What a class looks like to the flow, and what an item would be in another class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from innflow.analysis.classification.classifier import draw_class, labels_of, require_classifier
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import BATCH, Study
from innflow.errors import InnflowError
from innflow.figure.classification.classes import plot_class_means, plot_counterfactuals
from innflow.figure.plane import plot_moves
from innflow.figure.sample import plot_image_rows
from innflow.system.progress import track

SHOWN = 10
# Classes shown in a figure; of more, the first.
MOST = 20


@dataclass
class Counterfactual:
    """Decodes class means, draws from each class, and moves test items into other classes.

    A counterfactual keeps all of an item's latent vector but its class part, which goes to the
    same place relative to the other class.

    Attributes:
        items: test items in the figure, moved into every class.
        tested: test items moved into one other class each, to measure.
        temperature: of the draws from each class.
    """

    items: int = 8
    tested: int = 512
    temperature: float = 0.7

    def check(self, study: Study) -> None:
        """Refuse an application that does not classify, or a single class."""
        if len(require_classifier(study, "counterfactual").classes) < 2:
            raise InnflowError(
                "analysis counterfactual: there is one class only: leave it out of the analysis "
                "group"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `counterfactual/reached` and `counterfactual/distance` with the figures."""
        self.check(study)
        classes = len(require_classifier(study, "counterfactual").classes)
        x, labels = study.measure("test").data, labels_of(study, "test")
        rng = np.random.default_rng(study.seed)
        chosen = rng.permutation(len(x))[: self.tested]
        target = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
        moved = self._move(study, x[chosen], labels[chosen], target)
        # What a user would see: whole grey levels.
        seen = _rounded(study, moved) if study.is_image else moved
        called = self._classify(study, seen)
        reached = float(np.mean(called == target))
        distance = _distance(seen, x[chosen])
        other = _distance(x[chosen], x[chosen][_partners(labels[chosen], rng)])
        unit = "grey levels (root mean square over pixels)" if study.is_image else "data units"
        text = (
            f"{len(chosen):,} test items, each moved into another class at random: the flow calls "
            f"{reached:.1%} of them by the class they were moved to"
            f"{', after rounding to whole grey levels' if study.is_image else ''}. They move by "
            f"{np.median(distance):.3g} {unit} in the median; two test items of different classes "
            f"are {np.median(other):.3g} apart."
        )
        metrics = {
            "counterfactual/reached": reached,
            "counterfactual/distance": float(np.median(distance)),
            "counterfactual/distance_between_classes": float(np.median(other)),
        }
        if study.is_image:
            share = float(np.mean(np.abs(seen - x[chosen]) >= 0.125 * (study.levels - 1)))
            metrics["counterfactual/changed_share"] = share
            text += f" {share:.1%} of their pixels change by an eighth of the grey scale or more."
        findings = Findings("Classes and counterfactuals", text, metrics)
        if study.is_image:
            self._draw_images(study, findings, _one_each(labels, self.items, rng))
        elif tuple(study.app.shape) == (2,):
            self._draw_plane(study, findings, chosen[:40], moved[:40], target[:40])
        return findings

    def _draw_images(self, study: Study, findings: Findings, chosen: np.ndarray) -> None:
        app = require_classifier(study, "counterfactual")
        names = app.classes[:MOST]
        x, labels = study.measure("test").data[chosen], labels_of(study, "test")[chosen]
        means = study.picture(app.class_means()[:MOST].cpu().numpy())
        findings.figures["class_means"] = Plot(
            plot_class_means(means, names),
            "What the mean of each class decodes to, with all of the other latents 0.",
        )
        rows = [
            study.picture(draw_class(study, label, SHOWN, self.temperature))
            for label in range(len(names))
        ]
        findings.figures["draws"] = Plot(
            plot_image_rows(rows, names),
            f"Draws from p(x | class) at temperature {self.temperature:g}, not selected.",
        )
        targets = [
            study.picture(self._move(study, x, labels, np.full(len(x), label)))
            for label in range(len(names))
        ]
        findings.figures["counterfactuals"] = Plot(
            plot_counterfactuals(
                study.picture(x), targets, names, [min(label, MOST - 1) for label in labels]
            ),
            "Val items, and what they would be in each class with the same z. In its own class an "
            "item is itself.",
        )

    def _draw_plane(
        self,
        study: Study,
        findings: Findings,
        chosen: np.ndarray,
        moved: np.ndarray,
        target: np.ndarray,
    ) -> None:
        app, x = require_classifier(study, "counterfactual"), study.measure("test").data
        means = app.class_means().cpu().numpy()
        findings.figures["counterfactuals"] = Plot(
            plot_moves(x[chosen], moved, target, means, app.classes, x[:2000]),
            f"{len(chosen)} test items (black), each with an arrow to what it would be in another "
            "class. Stars: what the mean of each class decodes to.",
        )

    @staticmethod
    def _move(study: Study, x: np.ndarray, label: np.ndarray, target: np.ndarray) -> np.ndarray:
        app = require_classifier(study, "counterfactual")
        parts = [
            app.counterfactual(
                *(torch.tensor(rows[start : start + BATCH]) for rows in (x, label, target))
            )
            for start in track(range(0, len(x), BATCH), "counterfactuals")
        ]
        return torch.cat(parts).cpu().numpy()

    @staticmethod
    def _classify(study: Study, x: np.ndarray) -> np.ndarray:
        app = require_classifier(study, "counterfactual")
        batches = torch.from_numpy(x).split(BATCH)
        return torch.cat([app.classify(batch) for batch in batches]).argmax(dim=1).cpu().numpy()


def _rounded(study: Study, x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, study.levels - 1)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of vectors, the root mean square one of images, (N,)."""
    square = np.square(a.astype(np.float64) - b).reshape(len(a), -1)
    return np.sqrt(square.mean(axis=1) if a.ndim == 4 else square.sum(axis=1))


def _partners(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each item another one, of another class as far as a few tries find one."""
    partner = rng.permutation(len(labels))
    for _ in range(20):
        same = np.flatnonzero(labels[partner] == labels)
        partner[same] = rng.integers(len(labels), size=len(same))
    return partner


def _one_each(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions of so many items, of as many classes as there are, in order of label."""
    order = rng.permutation(len(labels))
    first = [order[labels[order] == label] for label in np.unique(labels)]
    turns = [rows[turn] for turn in range(count) for rows in first if turn < len(rows)]
    return np.array(sorted(turns[:count], key=lambda row: labels[row]))
