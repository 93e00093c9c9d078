"""Correlation of the likelihood with the differences of neighbouring pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table, add_correlation
from innflow.analysis.study import Analysis, Study
from innflow.figure.ood.difference_histogram import plot_texture
from innflow.figure.scatter import Cloud
from innflow.metric import (
    count_differences,
    difference_density,
    mean_absolute_difference,
    mean_log_density,
    pearson,
    spearman,
)

POOLED = "test and outliers"
FEATURES = {
    "density": "mean log density of differences, nats",
    "size": "mean |difference|, grey levels",
}


@dataclass
class Texture(Analysis):
    """Correlate log p with the density and the size of the differences of neighbouring pixels.

    After Schirrmeister et al. (arXiv:2006.10848): the density of these differences under the
    histogram of the training images predicts the likelihood of a Glow.

        >>> Texture()
        Texture()
    """

    def check(self, study: Study) -> None:
        """Refuse data that are not images."""
        study.require_images("texture")

    def __call__(self, study: Study) -> Findings:
        """Draw the histograms and the scatter, and tabulate the correlations by set."""
        self.check(study)
        names = ["train", "test", *study.outliers]
        counts = {
            name: count_differences(study.measure(name).data, study.data.levels) for name in names
        }
        usual = difference_density(counts["train"])
        shown = names[1:]
        log_prob = {name: study.measure(name).log_prob.astype(np.float64) for name in shown}
        features = {
            "density": {name: mean_log_density(counts[name], usual) for name in shown},
            "size": {name: mean_absolute_difference(counts[name]) for name in shown},
        }
        metrics: dict[str, float] = {}
        rows = []
        for name in [*shown, *([POOLED] if study.outliers else [])]:
            members, key = (shown, "pooled") if name == POOLED else ([name], name)
            log_probs = np.concatenate([log_prob[member] for member in members])
            cells = [name]
            for feature, values in features.items():
                x = np.concatenate([values[member] for member in members])
                for kind, correlate in (("pearson", pearson), ("spearman", spearman)):
                    where = f"texture/{feature}/{kind}/{key}"
                    cells.append(add_correlation(metrics, where, correlate(x, log_probs)))
            rows.append(cells)
        table = Table(
            "Correlation with log p over the images of a set",
            ["images", "density: Pearson", "Spearman", "size: Pearson", "Spearman"],
            rows,
        )
        steps = "; ".join(f"{name} {features['size'][name].mean():.1f}" for name in shown)
        text = (
            "Differences of each pixel from its left and upper neighbour, by channel. Mean "
            f"absolute difference in grey levels: {steps}. Correlation with log p (Pearson / "
            "Spearman) of the mean log density of an image's differences under the histogram of "
            f"{len(counts['train']):,} training images: {_listed(rows, 1)}; of their mean "
            f"absolute value: {_listed(rows, 3)}. Values near 1 or -1 mean that texture alone "
            "determines the likelihood."
        )
        panels = [
            Cloud(features[key], log_prob, label, "log p, nats", title)
            for (key, label), title in zip(
                FEATURES.items(), ("log p and their density", "log p and their size"), strict=True
            )
        ]
        plot = Plot(
            plot_texture(
                {name: counts[name].sum(axis=0) / counts[name].sum() for name in names},
                panels,
                study.colors,
            ),
            "Left: distribution of the differences of neighbouring pixels of each set. Middle: "
            "log p against the mean log density of the image's differences under the training "
            "histogram. Right: log p against their mean absolute value. At most 600 images a set "
            "are drawn.",
        )
        return Findings("Texture and likelihood", text, metrics, {"texture": plot}, [table])


def _listed(rows: list[list[str]], column: int) -> str:
    """Return the correlations over test and, where there are outliers, over all images."""
    chosen = [rows[0], *rows[-1:]] if len(rows) > 1 else rows
    return "; ".join(f"{row[0]} {row[column]} / {row[column + 1]}" for row in chosen)
