"""How near the density of each class is to one that is known exactly: modes, draws and nats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from innflow.analysis.classification.classifier import draw_class, labels_of, require_classifier
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study
from innflow.errors import InnflowError
from innflow.figure.classification.classes import plot_modes
from innflow.metric import compute_c2st
from innflow.metric.calibration import modes_covered
from innflow.system.progress import track

KNOWN = ("centres", "sigma", "mode_labels", "weights", "class_log_prob", "sample_class", "floor")


@dataclass
class Modes:
    """Compares draws and densities of each class with the exact ones of a mixture in the plane.

    Attributes:
        draws: from each class, to count modes.
        compared: of these, with as many exact ones by a classifier (C2ST).
    """

    draws: int = 4000
    compared: int = 2000

    def check(self, study: Study) -> None:
        """Refuse data whose classes are not known exactly."""
        require_classifier(study, "modes")
        if not all(hasattr(study.data, name) for name in KNOWN):
            raise InnflowError(
                "analysis modes: needs data whose modes are known, data=eight_modes: leave it out "
                "of the analysis group"
            )
        if not 2 <= self.compared <= self.draws:
            raise InnflowError(
                f"analysis.modes.compared={self.compared}: takes 2 to analysis.modes.draws="
                f"{self.draws}"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `test/modes_covered`, `test/far_share`, `test/nll_gap` and `test/c2st_max`."""
        self.check(study)
        names, data = require_classifier(study, "modes").classes, study.data
        drawn = [draw_class(study, label, self.draws) for label in range(len(names))]
        found = [
            modes_covered(x, data.centres[data.mode_labels == label], data.sigma)
            for label, x in enumerate(drawn)
        ]
        told, floor = self._compare(study, drawn)
        gap, error, nll = _gap(study)
        covered, far = sum(each.covered for each in found), [each.far for each in found]
        metrics = {
            "test/modes_covered": float(covered),
            "test/far_share": float(data.weights @ far),
            "test/nll_gap": gap,
            "test/nll_gap_se": error,
            "test/nll_given_class": nll,
            "test/nll_gap_to_entropy": nll - data.floor,
            "test/c2st_max": max(told),
            "test/c2st_mean": float(np.mean(told)),
            "test/c2st_floor_max": max(floor),
            "test/c2st_floor_mean": float(np.mean(floor)),
        }
        rows = [
            [
                name,
                f"{each.covered} of {len(each.shares)}",
                " ".join(f"{share:.3f}" for share in each.shares),
                f"{each.far:.3%}",
                f"{ours:.3f}",
                f"{exact:.3f}",
            ]
            for name, each, ours, exact in zip(names, found, told, floor, strict=True)
        ]
        columns = ["class", "modes", "share of each", "far from all", "C2ST", "C2ST of exact draws"]
        text = (
            f"{self.draws:,} draws from p(x | class) of each class reach {covered} of "
            f"{len(data.centres)} modes; {metrics['test/far_share']:.3%} of them are farther than "
            f"4 sigma from every centre of their class (0.034% of exact draws are).\n\n"
            f"Over test the flow needs {gap:.4f} nats more than the exact density for x given its "
            f"class (standard error {error:.4f}; the difference is taken item by item); the mean "
            f"of -log p(x | class) is {nll:.4f}, {nll - data.floor:+.4f} from the entropy "
            f"{data.floor:.4f}.\n\n"
            f"A classifier that is shown {self.compared:,} draws of a class and as many exact ones "
            f"tells them apart with an accuracy of {np.mean(told):.3f} (mean over the classes) and "
            f"{max(told):.3f} (the worst class); two sets of exact draws with {np.mean(floor):.3f} "
            f"and {max(floor):.3f}. 0.5 is chance."
        )
        figure = plot_modes(
            np.concatenate([x[: self.compared] for x in drawn]),
            np.repeat(np.arange(len(names)), self.compared),
            data.centres,
            names,
            data.sigma,
        )
        return Findings(
            "Modes",
            text,
            metrics,
            {"modes": Plot(figure, "Draws from each class in its colour. Not selected.")},
            [Table("Draws of each class against its exact density", columns, rows)],
        )

    def _compare(self, study: Study, drawn: list[np.ndarray]) -> tuple[list[float], list[float]]:
        """Return the C2ST of each class, and that of exact draws against exact draws."""
        told, floor = [], []
        for label in track(range(len(drawn)), "C2ST of each class"):
            rng = np.random.default_rng([study.seed, label])
            exact = study.data.sample_class(label, 2 * self.compared, rng)
            reference, twin = np.split(exact, 2)
            told.append(compute_c2st(drawn[label][: self.compared], reference, study.seed))
            floor.append(compute_c2st(twin, reference, study.seed))
        return told, floor


def _gap(study: Study) -> tuple[float, float, float]:
    """Return mean exact minus flow log p(x | class) over test, its error, and the flow's NLL."""
    app = require_classifier(study, "modes")
    x, labels = study.measure("test").data, labels_of(study, "test")
    rows = np.arange(len(x))
    batches = torch.tensor(x).split(4096)
    flow = torch.cat([app.class_log_prob(batch).cpu() for batch in batches]).double().numpy()
    exact = study.data.class_log_prob(torch.tensor(x)).double().numpy()
    difference = (exact - flow)[rows, labels]
    error = float(difference.std(ddof=1)) / math.sqrt(len(x))
    return float(difference.mean()), error, -float(flow[rows, labels].mean())
