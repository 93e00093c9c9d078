"""Latent vectors of sets, samples and augmented copies in two dimensions."""

from dataclasses import dataclass

import numpy as np
import torch

from innflow.analysis.examples import pick
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.latent import projection
from innflow.analysis.study import Analysis, Study
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.latent_plane import plot_clusters, plot_latent


@dataclass
class LatentCloud(Analysis):
    """Draw latents in two dimensions, the extreme items, and augmented copies as clusters.

        >>> LatentCloud(samples=100).components
        32

    Attributes:
        samples: number of samples that are encoded and plotted with the sets.
        components: number of principal components that are rotated to spread the outliers.
        shown: number of images in a row of extremes.
        images: number of test images that are copied.
        copies: number of augmented copies of each.
    """

    samples: int = 500
    components: int = 32
    shown: int = 10
    images: int = 6
    copies: int = 40

    def __call__(self, study: Study) -> Findings:
        """Draw the cloud by PCA, rotated, its extremes, and clusters of copies."""
        train = study.measure("train").latent
        pca = projection.principal_components(train, self.components, study.seed)
        variance = projection.total_variance(train)
        plane = projection.principal_plane(pca, variance)
        samples = study.encode(study.sample(study.count(self.samples, 64), exact=True))
        latents = {"train": train, "samples": samples}
        latents |= {name: study.measure(name).latent for name in ("test", *study.outliers)}
        findings = Findings("Latent cloud", "")
        findings.figures["pca"] = Plot(
            plot_latent(_projected(plane, latents), study.colors, plane.labels),
            f"Latent vectors by the first two principal components of {len(train):,} training "
            "latents. Samples are drawn at temperature 1 and encoded. A large marker is the mean "
            "of its set; at most 1% of the items are outside of each axis.",
        )
        shares = pca.explained_variance_[:2].sum() / variance
        norms = "; ".join(
            f"{name} {np.linalg.norm(z, axis=1).mean():.1f}" for name, z in latents.items()
        )
        notes = [
            f"Two of {train.shape[1]:,} principal components explain {shares:.1%} of the variance "
            "of the training latents. Mean latent norm (a standard normal: "
            f"{train.shape[1] ** 0.5:.1f}): {norms}."
        ]
        if study.outliers:
            groups = [latents[name] for name in ("test", *study.outliers)]
            rotated = projection.spread_plane(pca, groups)
            findings.figures["spread"] = Plot(
                plot_latent(_projected(rotated, latents), study.colors, rotated.labels),
                f"The plane of {pca.n_components_} principal components that separates test and "
                "the outlier sets best (Fisher's criterion). It is chosen with the outliers, for "
                "display only: no score uses it.",
            )
        if study.is_image:
            self._extremes(study, findings)
            notes.append(self._copies(study, findings))
        findings.text = "\n\n".join(notes)
        return findings

    def _extremes(self, study: Study, findings: Findings) -> None:
        mean = study.measure("train").latent.mean(axis=0, dtype=np.float64)
        rows, labels, notes = [], [], []
        for label, names in (("test", ["test"]), ("outliers", study.outliers)):
            if not names:
                continue
            distance = np.concatenate([_distance(study, name, mean) for name in names])
            order = np.argsort(distance, kind="stable")
            ends = {"closest": order[: self.shown], "most extreme": order[::-1][: self.shown]}
            for end, chosen in ends.items():
                images, sets = pick(study, names, chosen)
                rows.append(study.picture(images))
                labels.append(f"{label}\n{end}")
                sets = [f"\n{_short(name)}" if label == "outliers" else "" for name in sets]
                notes.append([f"{distance[i]:.1f}{s}" for i, s in zip(chosen, sets, strict=True)])
        findings.figures["extremes"] = Plot(
            plot_image_rows(rows, labels, notes=notes, block=2),
            f"The {self.shown} images with the smallest and the {self.shown} with the largest "
            "distance of their latents from the mean of the training latents, of test and of all "
            "outlier sets together; the number is the distance.",
        )

    def _copies(self, study: Study, findings: Findings) -> str:
        test = study.measure("test")
        chosen = np.random.default_rng(study.seed + 2).permutation(len(test))[: self.images]
        number = study.count(self.copies, 4)
        originals = torch.tensor(test.data[chosen]).repeat_interleave(number, dim=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(study.seed)
            copies = study.data.augment(originals).cpu()
        if torch.equal(copies, originals):
            return "The data are not augmented, so there are no augmented copies."
        moved = study.encode(copies.numpy(), "augmented copies")
        groups = moved.reshape(len(chosen), number, -1)
        base = test.latent[chosen]
        plane = projection.centre_plane(list(groups))
        clusters = [plane(np.r_[z[None], group]) for z, group in zip(base, groups, strict=True)]
        others = plane(study.measure("train").latent)
        findings.figures["copies"] = Plot(
            plot_clusters(others, clusters, test.data[chosen], plane.labels),
            f"{number} augmented copies of each of {len(chosen)} test images (stars), in the "
            "colour of the frame, over the training latents in grey, in the plane of largest "
            "variance of the cluster centres.",
        )
        within = np.mean([np.linalg.norm(g - g.mean(axis=0), axis=1).mean() for g in groups])
        centres = groups.mean(axis=1)
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        between = apart[np.triu_indices(len(centres), 1)].mean() if len(centres) > 1 else np.nan
        return (
            f"Mean distance of augmented copies from the centre of their cluster: {within:.1f}; "
            f"between the centres: {between:.1f} (Euclidean, in {moved.shape[1]:,} dimensions)."
        )


def _short(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"


def _projected(plane: projection.Plane, latents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: plane(latent) for name, latent in latents.items()}


def _distance(study: Study, name: str, mean: np.ndarray) -> np.ndarray:
    latent = study.measure(name).latent
    blocks = (latent[i : i + 1024] - mean for i in range(0, len(latent), 1024))
    return np.concatenate([np.linalg.norm(block, axis=1) for block in blocks])
