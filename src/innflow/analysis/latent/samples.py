"""Samples, their nearest training images, and samples from a latent Gaussian of few dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.latent.projection import principal_components, total_variance
from innflow.analysis.study import BATCH, Items, Study, to_pixels
from innflow.figure.sample import plot_image_rows
from innflow.system.progress import track

# Root mean square difference in grey levels below which two pictures are one.
SAME = 0.5


@dataclass
class Samples:
    """Draws samples at several temperatures and looks for copies of training images.

    Attributes:
        temperatures: one row each.
        columns: samples a row.
        nearest_at: temperature of the samples whose nearest training images are sought.
        components: numbers of principal components of the latents to sample in, one row each.
    """

    temperatures: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 1.0)
    columns: int = 10
    nearest_at: float = 0.8
    components: Sequence[int] = (8, 32, 128)

    def check(self, study: Study) -> None:
        """Refuse data that are not images."""
        study.require_images("samples")

    def __call__(self, study: Study) -> Findings:
        """Draw the grid, the nearest images and the samples of few dimensions."""
        self.check(study)
        findings = Findings("Samples", "")
        rows = [to_pixels(study.sample(self.columns, t)) for t in self.temperatures]
        findings.figures["temperatures"] = Plot(
            plot_image_rows(rows, [f"T = {t:g}" for t in self.temperatures]),
            "Samples, not selected. A row has one temperature T, which scales the latent noise; a "
            "column has the same noise.",
        )
        findings.text = self._nearest(study, findings) + "\n\n" + self._subspace(study, findings)
        return findings

    def _nearest(self, study: Study, findings: Findings) -> str:
        count = max(self.columns, 64)
        samples = to_pixels(study.sample(count, self.nearest_at))
        test = study.measure("test").data[:BATCH]
        train = study.sets["train"]
        distance, index = nearest(np.concatenate([samples, test]), train, "nearest images")
        closest = train.__getitems__(torch.from_numpy(index[: self.columns]))["x"].numpy()
        ours, theirs = distance[:count], distance[count:]
        findings.figures["nearest"] = Plot(
            plot_image_rows(
                [samples[: self.columns], to_pixels(closest)],
                [f"sample\nT = {self.nearest_at:g}", "nearest\nin train"],
                notes=[[], [f"{value:.0f} levels" for value in distance[: self.columns]]],
            ),
            "Samples above the training image nearest to each by pixels, with the root mean square "
            "difference in grey levels. A copy would look the same and be near 0.",
        )
        findings.metrics["samples/nearest_train"] = float(np.median(ours))
        copies = int(np.sum(theirs < SAME))
        return (
            f"The median distance of {count} samples at T = {self.nearest_at:g} to the nearest of "
            f"all {len(train):,} training images is {np.median(ours):.1f} grey levels (root mean "
            f"square), the smallest {ours.min():.1f}; for {len(theirs)} test images the median is "
            f"{np.median(theirs):.1f}, and {copies} of them are in train as they are (below "
            f"{SAME:g}). Smooth pictures are near everything, so look at them too."
        )

    def _subspace(self, study: Study, findings: Findings) -> str:
        latent = study.measure("train").latent
        pca = principal_components(latent, max(self.components), study.seed)
        counts = sorted({min(count, int(pca.n_components_)) for count in self.components})
        rng = np.random.default_rng(study.seed)
        steps = rng.standard_normal((self.columns, counts[-1])) * np.sqrt(
            pca.explained_variance_[: counts[-1]]
        )
        latents = [steps[:, :count] @ pca.components_[:count] + pca.mean_ for count in counts]
        images = to_pixels(study.decode(np.concatenate(latents), "samples by PCA"))
        white = rng.standard_normal(latent.shape, dtype=np.float32)
        chance = principal_components(white, counts[-1], study.seed)
        held = [(_share(pca, latent, n), _share(chance, white, n)) for n in counts]
        labels = [
            f"{n} of {latent.shape[1]:,}\n{share:.1%}"
            for n, (share, _) in zip(counts, held, strict=True)
        ]
        findings.figures["pca"] = Plot(
            plot_image_rows(np.split(images, len(counts)), labels),
            "Samples of the Gaussian fitted to the training latents in their first principal "
            "components: number of components, and their share of the latent variance. A column "
            "has the same noise in the components that its pictures share.",
        )
        listed = "; ".join(
            f"{n} hold {share:.1%} ({fair:.1%})"
            for n, (share, fair) in zip(counts, held, strict=True)
        )
        return (
            f"The first principal components of {len(latent):,} training latents of "
            f"{latent.shape[1]:,} dimensions, by number, with the share of variance that as many "
            f"draws of a standard normal would show by chance in brackets: {listed}."
        )


def _share(pca: PCA, latent: np.ndarray, count: int) -> float:
    return float(pca.explained_variance_[:count].sum() / total_variance(latent))


def nearest(queries: np.ndarray, items: Items, description: str) -> tuple[np.ndarray, np.ndarray]:
    """Find for each image the nearest of a set: root mean square difference, and position."""
    flat = torch.tensor(queries, dtype=torch.float32).flatten(1)
    best = torch.full((len(flat),), torch.inf)
    where = torch.zeros(len(flat), dtype=torch.long)
    for start in track(range(0, len(items), BATCH), description):
        positions = torch.arange(start, min(start + BATCH, len(items)))
        rows = items.__getitems__(positions)["x"].float().flatten(1)
        distance, index = torch.cdist(flat, rows).min(dim=1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        where = torch.where(closer, index + start, where)
    return (best / flat.shape[1] ** 0.5).numpy(), where.numpy()
