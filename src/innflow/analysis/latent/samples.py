"""Samples at several temperatures, their nearest training images, principal components."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.latent.projection import principal_components, total_variance
from innflow.analysis.study import BATCH, ImageAnalysis, Study, to_pixels
from innflow.data.sets import PartsSet
from innflow.figure.image_rows import plot_image_rows
from innflow.latent.principal import DETAIL
from innflow.system.progress import track

SAME = 0.5
"""Root mean square difference in grey levels below which two images are equal."""


@dataclass
class Samples(ImageAnalysis):
    """Draw samples at several temperatures and search for copies of training images.

        >>> Samples(columns=5).nearest_at
        0.8

    Attributes:
        temperatures: one row of samples of the density for each.
        columns: number of samples in a row.
        nearest_at: temperature of the samples whose nearest training images are searched.
        components: numbers of principal components of the latents to sample from, one row for each.
    """

    temperatures: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 1.0)
    columns: int = 10
    nearest_at: float = 0.8
    components: Sequence[int] = (8, 32, 128)

    def __call__(self, study: Study) -> Findings:
        """Draw the grid, the nearest images and the samples from few components."""
        self.check(study)
        findings = Findings("Samples", "")
        if (fitted := study.fitted_latents) is not None:
            shown = study.count(4, 1)
            drawn = to_pixels(study.sample(shown * self.columns))
            findings.figures["fitted"] = Plot(
                plot_image_rows(np.split(drawn, shown), [""] * shown),
                "Samples, not selected. Their latents are drawn from a normal distribution fitted "
                f"to the latents of training images in {len(fitted.deviations)} principal "
                f"components, and with standard deviation {DETAIL:g} in all other directions.",
            )
        rows = [to_pixels(study.sample(self.columns, t, exact=True)) for t in self.temperatures]
        findings.figures["temperatures"] = Plot(
            plot_image_rows(rows, [f"T = {t:g}" for t in self.temperatures]),
            "Samples of the density, not selected. A row has one temperature T, which scales the "
            "latent noise; a column has the same noise.",
        )
        findings.text = self._nearest(study, findings) + "\n\n" + self._subspace(study, findings)
        return findings

    def _nearest(self, study: Study, findings: Findings) -> str:
        count = max(self.columns, study.count(64, 16))
        samples = to_pixels(study.sample(count, self.nearest_at))
        test = study.measure("test").data[: study.count(BATCH, 16)]
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
            "Samples, and below each the nearest training image by pixels, with the root mean "
            "square difference in grey levels, which is near 0 for a copy.",
        )
        findings.metrics["samples/nearest_train"] = float(np.median(ours))
        copies = int(np.sum(theirs < SAME))
        return (
            f"Root mean square difference to the nearest of all {len(train):,} training images, in "
            f"grey levels: for {count} samples at T = {self.nearest_at:g} median "
            f"{np.median(ours):.1f}, smallest {ours.min():.1f}; for {len(theirs)} test images "
            f"median {np.median(theirs):.1f}, and {copies} of them are in train (below {SAME:g}). "
            "Smooth images are close to many others, so the images should be compared as well."
        )

    def _subspace(self, study: Study, findings: Findings) -> str:
        latent = study.measure("train").latent
        pca = principal_components(latent, max(self.components), study.seed)
        counts = sorted({min(count, int(pca.n_components_)) for count in self.components})
        rng = np.random.default_rng(study.seed)
        spread = np.sqrt(pca.explained_variance_[: counts[-1]])
        steps = rng.standard_normal((self.columns, counts[-1])) * spread
        latents = [steps[:, :count] @ pca.components_[:count] + pca.mean_ for count in counts]
        images = to_pixels(study.decode(np.concatenate(latents), "samples by PCA"))
        white = rng.standard_normal(latent.shape, dtype=np.float32)
        chance = principal_components(white, counts[-1], study.seed)
        held = {n: (_share(pca, latent, n), _share(chance, white, n)) for n in counts}
        labels = [f"{n} of {latent.shape[1]:,}\n{share:.1%}" for n, (share, _) in held.items()]
        findings.figures["pca"] = Plot(
            plot_image_rows(np.split(images, len(counts)), labels),
            "Samples of the Gaussian fitted to the training latents in their first principal "
            "components: number of components, and their share of the latent variance. A column "
            "has the same noise in the components that its images share.",
        )
        listed = "; ".join(f"{n} components {a:.1%} ({b:.1%})" for n, (a, b) in held.items())
        return (
            f"Share of the variance of {len(latent):,} training latents ({latent.shape[1]:,} "
            "dimensions) explained by their first principal components, in brackets that of as "
            f"many draws of a standard normal: {listed}."
        )


def _share(pca: PCA, latent: np.ndarray, count: int) -> float:
    return float(pca.explained_variance_[:count].sum() / total_variance(latent))


def nearest(
    queries: np.ndarray, items: PartsSet, description: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the root mean square difference of each image from the nearest one, and its index."""
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
