"""Whether the likelihood of an image follows its amplitudes or its phases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study, in_batches, require_whole
from innflow.errors import InnflowError
from innflow.figure.ood.phase import plot_phases, plot_swapped
from innflow.metric import pearson, spearman, swap_phases


@dataclass
class AmplitudePhase:
    """Walks from the phases of test images to those of others, with the amplitudes kept.

    The spectrum's phases say what an image shows, its amplitudes how much of which frequency there
    is. After Schirrmeister et al. (arXiv:2006.10848).

    Attributes:
        pairs: of test images.
        steps: of a walk, both ends included.
        shown: walks drawn as images.
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
        """Draw walks, log p along them, and the end's against that of both donors."""
        self.check(study)
        test = study.measure("test")
        order = np.random.default_rng(study.seed).permutation(len(test))[: self.pairs]
        # Everyone gives amplitudes once and phases once, to the next in a circle.
        first, second = order, np.roll(order, -1)
        shares = np.linspace(0, 1, self.steps)
        walks = np.stack([self._mixed(study, first, second, share) for share in shares], axis=1)
        flat = walks.reshape(-1, *walks.shape[2:])
        log_prob = in_batches(study.app.log_prob, flat, "amplitudes and phases").astype(np.float64)
        along = log_prob.reshape(walks.shape[:2])
        donors = {
            "amplitude": test.log_prob[first].astype(np.float64),
            "phase": test.log_prob[second].astype(np.float64),
        }
        metrics, rows = {}, []
        for donor, values in donors.items():
            cells = [f"{donor} donor"]
            for kind, correlate in (("pearson", pearson), ("spearman", spearman)):
                value = correlate(values, along[:, -1])
                cells.append(f"{value:+.3f}" if np.isfinite(value) else "-")
                if np.isfinite(value):
                    metrics[f"amplitude_phase/{donor}/{kind}"] = value
            rows.append(cells)
        text = (
            f"{len(order)} test images keep their Fourier amplitudes while their phases go over to "
            "those of another test image. Log p of the result, amplitudes of one and phases of the "
            f"other, correlates by {rows[0][1]} (Pearson; Spearman {rows[0][2]}) with log p of the "
            f"image that gave the amplitudes, and by {rows[1][1]} ({rows[1][2]}) with that of the "
            f"image that gave the phases and with them what is shown. On average log p goes from "
            f"{along[:, 0].mean():,.0f} to {along[:, -1].mean():,.0f} nats."
        )
        shown = min(self.shown, len(order))
        pictures = [study.picture(walks[row]) for row in range(shown)]
        others = [study.picture(test.data[[index]]) for index in second[:shown]]
        findings = Findings("Amplitudes and phases", text, metrics)
        findings.figures["images"] = Plot(
            plot_swapped(pictures, others, shares, along[:shown]),
            "Val images whose phases go over, from left to right, to those of the image on the "
            "far right, while their amplitudes stay; below, log p in nats.",
        )
        findings.figures["likelihood"] = Plot(
            plot_phases(shares, along, donors, study.colors["test"]),
            "Left: log p along the walks, each a thin line, their mean a thick one. Middle and "
            "right: log p at the end of each walk against log p of the image that gave the "
            "amplitudes and of the one that gave the phases.",
        )
        findings.tables.append(
            Table(
                f"Correlation of log p at the end of {len(order)} walks with log p of the donors",
                ["with", "Pearson", "Spearman"],
                rows,
            )
        )
        return findings

    @staticmethod
    def _mixed(study: Study, first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
        """Return whole grey levels, in the type of the data."""
        data = study.measure("test").data
        mixed = swap_phases(data[first], data[second], share)
        return np.clip(np.rint(mixed), 0, study.levels - 1).astype(data.dtype)
