"""Comparison of class densities with exact ones: modes covered, C2ST, difference in nats."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from innflow.analysis.classification.classifier import draw_class, labels_of, require_classifier
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.data.toy.modes import EightModes
from innflow.errors import InnflowError
from innflow.figure.classification.classes import plot_modes
from innflow.metric import compute_c2st
from innflow.metric.class_calibration import modes_covered
from innflow.system.progress import track


@dataclass
class Modes(Analysis):
    """Compare draws and densities of each class with the exact ones of a mixture in the plane.

        >>> Modes(draws=1000, compared=500)
        Modes(draws=1000, compared=500)

    Attributes:
        draws: from each class, to count modes.
        compared: number of them compared with as many exact draws by a classifier (C2ST).
    """

    draws: int = 4000
    compared: int = 2000

    def check(self, study: Study) -> None:
        """Raise InnflowError for data other than the eight modes, whose densities are known."""
        require_classifier(study, "modes")
        if not isinstance(study.data, EightModes):
            raise InnflowError(
                "analysis modes: needs data whose modes are known, data=eight_modes: leave it out "
                "with analysis.modes=null"
            )
        if not 2 <= self.compared <= self.draws:
            raise InnflowError(
                f"analysis.modes.compared={self.compared}: must be from 2 to analysis.modes.draws="
                f"{self.draws}"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `test/modes_covered`, `test/far_share`, `test/nll_gap` and `test/c2st_max`."""
        self.check(study)
        names, data = require_classifier(study, "modes").classes, _modes(study)
        draws, compared = study.count(self.draws, 100), study.count(self.compared, 10)
        drawn = [draw_class(study, label, draws) for label in range(len(names))]
        found = [
            modes_covered(x, data.centres[data.mode_labels == label], data.sigma)
            for label, x in enumerate(drawn)
        ]
        c2st, floor = _compare(study, drawn, compared)
        gap, error, nll = _gap(study)
        covered, far = sum(each.covered for each in found), [each.far for each in found]
        metrics = {
            "test/modes_covered": float(covered),
            "test/far_share": float(data.weights @ far),
            "test/nll_gap": gap,
            "test/nll_gap_se": error,
            "test/nll_given_class": nll,
            "test/nll_gap_to_entropy": nll - data.floor,
            "test/c2st_max": max(c2st),
            "test/c2st_mean": float(np.mean(c2st)),
            "test/c2st_floor_max": max(floor),
            "test/c2st_floor_mean": float(np.mean(floor)),
        }
        rows = []
        for name, each, ours, exact in zip(names, found, c2st, floor, strict=True):
            modes = f"{each.covered} of {len(each.shares)}"
            shares = " ".join(f"{share:.3f}" for share in each.shares)
            rows.append([name, modes, shares, f"{each.far:.3%}", f"{ours:.3f}", f"{exact:.3f}"])
        columns = ["class", "modes", "share of each", "far from all", "C2ST", "C2ST of exact draws"]
        text = (
            f"{draws:,} draws from p(x | class) of each class cover {covered} of "
            f"{len(data.centres)} modes; {metrics['test/far_share']:.3%} of them are farther than "
            f"4 sigma from every centre of their class (0.034% of exact draws are).\n\n"
            f"Over test, log p(x | class) of the flow is {gap:.4f} nats below the exact value on "
            f"average (standard error {error:.4f} of the paired difference); the mean of "
            f"-log p(x | class) is {nll:.4f}, {nll - data.floor:+.4f} from the entropy "
            f"{data.floor:.4f}.\n\n"
            f"C2ST, the accuracy of a classifier that separates {compared:,} draws of a class from "
            f"as many exact ones (0.5 is chance): {np.mean(c2st):.3f} on average over the classes, "
            f"{max(c2st):.3f} for the worst; for two sets of exact draws {np.mean(floor):.3f} and "
            f"{max(floor):.3f}."
        )
        shown = np.concatenate([x[:compared] for x in drawn])
        labels = np.repeat(np.arange(len(names)), compared)
        figure = plot_modes(shown, labels, data.centres, names, data.sigma)
        plot = Plot(figure, "Draws from each class in the colour of the class, not selected.")
        table = Table("Draws of each class compared with its exact density", columns, rows)
        return Findings("Modes", text, metrics, {"modes": plot}, [table])


def _modes(study: Study) -> EightModes:
    return cast(EightModes, study.data)


def _compare(
    study: Study, drawn: list[np.ndarray], compared: int
) -> tuple[list[float], list[float]]:
    """Return the C2ST of each class, and that of two sets of exact draws of it."""
    c2st, floor = [], []
    folds = study.count(5, 2)
    for label in track(range(len(drawn)), "C2ST of each class"):
        rng = np.random.default_rng([study.seed, label])
        exact = _modes(study).sample_class(label, 2 * compared, rng)
        reference, twin = np.split(exact, 2)
        c2st.append(compute_c2st(drawn[label][:compared], reference, study.seed, folds))
        floor.append(compute_c2st(twin, reference, study.seed, folds))
    return c2st, floor


def _gap(study: Study) -> tuple[float, float, float]:
    """Return the mean of exact minus flow log p(x | class), its standard error, the flow's NLL."""
    app = require_classifier(study, "modes")
    x, labels = study.measure("test").data, labels_of(study, "test")
    rows = np.arange(len(x))
    flow = in_batches(app.class_log_prob, x, "class densities", 4096).astype(np.float64)
    exact = _modes(study).class_log_prob(torch.tensor(x)).double().numpy()
    difference = (exact - flow)[rows, labels]
    error = float(difference.std(ddof=1)) / math.sqrt(len(x))
    return float(difference.mean()), error, -float(flow[rows, labels].mean())
