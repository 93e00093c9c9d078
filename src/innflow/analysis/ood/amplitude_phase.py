"""Dependence of the likelihood on Fourier amplitudes and on phases."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table, add_correlation
from innflow.analysis.study import Analysis, Study, in_batches, require_whole
from innflow.errors import InnflowError
from innflow.figure.ood.phase import plot_phases, plot_swapped
from innflow.metric import pearson, spearman, swap_phases


@dataclass
class AmplitudePhase(Analysis):
    """Replace the Fourier phases of test images step by step by those of others.

    Phases determine the objects in an image, amplitudes the power of each frequency. After
    Schirrmeister et al. (arXiv:2006.10848).

        >>> AmplitudePhase(pairs=10)
        AmplitudePhase(pairs=10, steps=9, shown=4)

    Attributes:
        pairs: number of pairs of test images.
        steps: number of images from one to the other, both ends included.
        shown: number of pairs in the figure.
    """

    pairs: int = 100
    steps: int = 9
    shown: int = 4

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and too few of them."""
        require_whole("amplitude_phase.pairs", self.pairs, 3)
        require_whole("amplitude_phase.steps", self.steps, 2)
        require_whole("amplitude_phase.shown", self.shown, 1)
        study.require_images("amplitude_phase")
        if len(study.sets["test"]) < 3:
            raise InnflowError("analysis amplitude_phase: test has fewer than 3 images")

    def __call__(self, study: Study) -> Findings:
        """Draw the images, and correlate log p of the last one of each pair with both donors."""
        self.check(study)
        test = study.measure("test")
        order = np.random.default_rng(study.seed).permutation(len(test))
        order = order[: study.count(self.pairs, 8)]
        # Each image is the donor of amplitudes once and of phases once.
        first, second = order, np.roll(order, -1)
        shares = np.linspace(0, 1, study.count(self.steps, 3))
        walks = np.stack([_mixed(study, first, second, share) for share in shares], axis=1)
        flat = walks.reshape(-1, *walks.shape[2:])
        log_prob = in_batches(study.density.log_prob, flat, "amplitudes and phases")
        along = log_prob.astype(np.float64).reshape(walks.shape[:2])
        known = test.log_prob.astype(np.float64)
        donors = {"amplitude": known[first], "phase": known[second]}
        metrics, rows = dict[str, float](), []
        for donor, values in donors.items():
            cells = [f"{donor} donor"]
            for kind, correlate in (("pearson", pearson), ("spearman", spearman)):
                key = f"amplitude_phase/{donor}/{kind}"
                cells.append(add_correlation(metrics, key, correlate(values, along[:, -1])))
            rows.append(cells)
        text = (
            f"{len(order)} test images keep their Fourier amplitudes while their phases are "
            "replaced by those of another test image. Log p of the result correlates by "
            f"{rows[0][1]} (Pearson; Spearman {rows[0][2]}) with log p of the donor of the "
            f"amplitudes, and by {rows[1][1]} ({rows[1][2]}) with that of the donor of the phases. "
            f"Mean log p changes from {along[:, 0].mean():,.0f} to {along[:, -1].mean():,.0f} nats."
        )
        shown = min(self.shown, len(order))
        pictures = [study.picture(walks[row]) for row in range(shown)]
        others = [study.picture(test.data[[index]]) for index in second[:shown]]
        findings = Findings("Amplitudes and phases", text, metrics)
        findings.figures["images"] = Plot(
            plot_swapped(pictures, others, shares, along[:shown]),
            "Test images whose phases change from left to right to those of the image on the far "
            "right, while their amplitudes stay; below each, log p in nats.",
        )
        findings.figures["likelihood"] = Plot(
            plot_phases(shares, along, donors, study.colors["test"]),
            "Left: log p from the first to the last image of each pair (thin lines) and its mean "
            "(thick). Middle and right: log p of the last image against log p of the donors.",
        )
        title = (
            f"Correlation of log p of {len(order)} images with new phases with log p of the donors"
        )
        findings.tables.append(Table(title, ["with", "Pearson", "Spearman"], rows))
        return findings


def _mixed(study: Study, first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return whole grey levels, in the type of the data."""
    data = study.measure("test").data
    return study.round(swap_phases(data[first], data[second], share)).astype(data.dtype)
