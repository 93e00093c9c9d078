"""Correlation of the likelihood with the differences of neighbouring pixels."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table, correlate
from innflow.analysis.study import ImageAnalysis, Study
from innflow.figure.curves import plot_curves
from innflow.figure.scatter import Cloud, plot_clouds
from innflow.metric import image_statistics

POOLED = "test and outliers"


@dataclass
class Texture(ImageAnalysis):
    """Correlate log p with the density and the size of the differences of neighbouring pixels.

    After Schirrmeister et al. (arXiv:2006.10848): the density of these differences under the
    histogram of the training images predicts the likelihood of a Glow.

        >>> Texture()
        Texture()
    """

    def __call__(self, study: Study) -> Findings:
        """Draw the histograms and the scatter, and tabulate the correlations by set."""
        self.check(study)
        names = ["train", "test", *study.outliers]
        counts = {
            name: image_statistics.count_differences(study.measure(name).data, study.data.levels)
            for name in names
        }
        usual = image_statistics.difference_density(counts["train"])
        shown = names[1:]
        log_prob = {name: study.measure(name).log_prob.astype(np.float64) for name in shown}
        features: dict[str, dict[str, np.ndarray]] = {"density": {}, "size": {}}
        for name in shown:
            features["density"][name] = image_statistics.mean_log_density(counts[name], usual)
            features["size"][name] = image_statistics.mean_absolute_difference(counts[name])
        metrics: dict[str, float] = {}
        rows = []
        for name in [*shown, *([POOLED] if study.outliers else [])]:
            members, key = (shown, "pooled") if name == POOLED else ([name], name)
            log_probs = np.concatenate([log_prob[member] for member in members])
            cells = [name]
            for feature, values in features.items():
                x = np.concatenate([values[member] for member in members])
                cells += correlate(metrics, f"texture/{feature}/{key}", x, log_probs)
            rows.append(cells)
        columns = ["images", "density: Pearson", "Spearman", "size: Pearson", "Spearman"]
        table = Table("Correlation with log p over the images of a set", columns, rows)
        steps = "; ".join(f"{name} {features['size'][name].mean():.1f}" for name in shown)
        text = (
            "Differences of each pixel from its left and upper neighbour, by channel. Mean "
            f"absolute difference in grey levels: {steps}. Correlation with log p (Pearson / "
            "Spearman) of the mean log density of an image's differences under the histogram of "
            f"{len(counts['train']):,} training images: {_listed(rows, 1)}; of their mean "
            f"absolute value: {_listed(rows, 3)}. Values near 1 or -1 mean that texture alone "
            "determines the order of the likelihoods."
        )
        density, size = "mean log density of differences, nats", "mean |difference|, grey levels"
        nats = "log p, nats"
        panels = [
            Cloud(features["density"], log_prob, density, nats),
            Cloud(features["size"], log_prob, size, nats),
        ]
        sums = {name: count.sum(axis=0) for name, count in counts.items()}
        shares = {name: np.where(n > 0, n / n.sum(), np.nan) for name, n in sums.items()}
        differences = np.arange(1 - study.data.levels, study.data.levels)
        axes = "difference, grey levels", "share"
        figures = {
            "differences": Plot(
                plot_curves({"": shares}, differences, study.colors, axes, log="y"),
                "Distribution of the differences of neighbouring pixels of each set.",
            ),
            "likelihood": Plot(
                plot_clouds(panels, study.colors),
                "Left: log p against the mean log density of the image's differences under the "
                "training histogram. Right: log p against their mean absolute value. At most 600 "
                "images per set are drawn.",
            ),
        }
        return Findings("Texture and likelihood", text, metrics, figures, [table])


def _listed(rows: list[list[str]], column: int) -> str:
    """Return the correlations over test and, where there are outliers, over all images."""
    chosen = [rows[0], *rows[-1:]] if len(rows) > 1 else rows
    return "; ".join(f"{row[0]} {row[column]} / {row[column + 1]}" for row in chosen)
