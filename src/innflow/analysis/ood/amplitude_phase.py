"""Dependence of the likelihood on Fourier amplitudes and on phases."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table, correlate
from innflow.analysis.study import ImageAnalysis, Study, in_batches
from innflow.config.bounds import Positive, Several
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.scatter import Cloud, plot_clouds
from innflow.metric import swap_phases


@dataclass
class AmplitudePhase(ImageAnalysis):
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

    pairs: Several = 100
    steps: Several = 9
    shown: Positive = 4

    def __call__(self, study: Study) -> Findings:
        """Draw the images, and correlate log p of the last of each pair with that of the donors."""
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
        metrics: dict[str, float] = {}
        rows = []
        for donor, values in donors.items():
            cells = correlate(metrics, f"amplitude_phase/{donor}", values, along[:, -1])
            rows.append([f"{donor} donor", *cells])
        text = (
            f"{len(order)} test images keep their Fourier amplitudes while their phases are "
            "replaced by those of another test image. Log p of the result correlates by "
            f"{rows[0][1]} (Pearson; Spearman {rows[0][2]}) with log p of the donor of the "
            f"amplitudes, and by {rows[1][1]} ({rows[1][2]}) with that of the donor of the phases. "
            f"Mean log p changes from {along[:, 0].mean():,.0f} to {along[:, -1].mean():,.0f} nats."
        )
        shown = min(self.shown, len(order))
        pictures = np.concatenate([walks[:shown], test.data[second[:shown], None]], axis=1)
        notes = [[f"{value:,.0f}" for value in values] for values in along[:shown]]
        headings = ["image", *(f"a = {share:.3g}" for share in shares[1:]), "phases of"]
        panels = [
            Cloud(
                {"test": values},
                {"test": along[:, -1]},
                f"log p, {donor} donor, nats",
                "log p with other phases, nats",
                f"correlation {cells[1]}",
            )
            for (donor, values), cells in zip(donors.items(), rows, strict=True)
        ]
        findings = Findings("Amplitudes and phases", text, metrics)
        findings.figures["images"] = Plot(
            plot_image_rows(list(study.picture(pictures)), [""] * shown, headings, notes),
            "Test images whose phases change from left to right to those of the image on the far "
            "right, while their amplitudes stay; a is the share of the other phases. Below each, "
            "log p in nats.",
        )
        findings.figures["likelihood"] = Plot(
            plot_clouds(panels, study.colors),
            "Log p of the images with the amplitudes of one test image and the phases of another, "
            "against log p of the two donors.",
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
