"""The latent cloud: where sets, samples and augmented copies lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.latent.projection import (
    Plane,
    centre_plane,
    principal_components,
    principal_plane,
    spread_plane,
    total_variance,
)
from innflow.analysis.study import Study, in_batches, to_pixels
from innflow.figure.latent import plot_clusters, plot_latent
from innflow.figure.sample import plot_image_rows


@dataclass
class LatentCloud:
    """Draws latents in two dimensions, the extremes among them, and copies as clusters.

    Attributes:
        samples: samples encoded and drawn with the sets.
        components: principal components that are rotated to spread the outliers.
        shown: pictures in a row of extremes.
        images: test images that are copied, and `copies` augmented copies of each.
        copies: augmented copies of each image.
    """

    samples: int = 500
    components: int = 32
    shown: int = 10
    images: int = 6
    copies: int = 40

    def __call__(self, study: Study) -> Findings:
        """Draw the cloud by PCA, rotated, its extremes, and clusters of copies."""
        train = study.measure("train").latent
        pca = principal_components(train, self.components, study.seed)
        variance = total_variance(train)
        plane = principal_plane(pca, variance)
        latents = {"train": train, "samples": study.encode(study.sample(self.samples))}
        latents |= {name: study.measure(name).latent for name in ("test", *study.outliers)}
        findings = Findings("Latent cloud", "")
        findings.figures["pca"] = Plot(
            plot_latent(_projected(plane, latents), study.colors, plane.labels),
            f"Latent vectors by the first two principal components of {len(train):,} training "
            "latents. Samples are drawn at temperature 1 and encoded again. A large marker is the "
            "mean of its set; a plot leaves out at most 1% of items on each axis.",
        )
        shares = pca.explained_variance_[:2].sum() / variance
        norms = "; ".join(
            f"{name} {np.linalg.norm(z, axis=1).mean():.1f}" for name, z in latents.items()
        )
        notes = [
            f"Two of {train.shape[1]:,} latent dimensions hold {shares:.1%} of the variance of the "
            f"training latents. Mean latent norm (a standard normal: {train.shape[1] ** 0.5:.1f}): "
            f"{norms}."
        ]
        if study.outliers:
            groups = [latents[name] for name in ("test", *study.outliers)]
            rotated = spread_plane(pca, groups)
            findings.figures["spread"] = Plot(
                plot_latent(_projected(rotated, latents), study.colors, rotated.labels),
                f"The same cloud rotated within {pca.n_components_} principal components so that "
                "test and the outlier sets spread most (Fisher's criterion). The rotation was "
                "chosen with the outliers: it is for looking only, and no score uses it.",
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
            source = np.repeat(names, [len(study.measure(name)) for name in names])
            start = dict(
                zip(names, np.cumsum([0, *(len(study.measure(n)) for n in names)]), strict=False)
            )
            order = np.argsort(distance, kind="stable")
            ends = {"closest": order[: self.shown], "most extreme": order[::-1][: self.shown]}
            for end, chosen in ends.items():
                pictures = [study.measure(source[i]).data[i - start[source[i]]] for i in chosen]
                rows.append(to_pixels(np.stack(pictures)))
                labels.append(f"{label}\n{end}")
                notes.append(
                    [
                        f"{distance[i]:.1f}"
                        + (f"\n{_short(source[i])}" if label == "outliers" else "")
                        for i in chosen
                    ]
                )
        findings.figures["extremes"] = Plot(
            plot_image_rows(rows, labels, notes=notes, block=2),
            f"The {self.shown} images whose latents lie closest to the mean of the training "
            f"latents and the {self.shown} that lie farthest, of test and of all outlier sets "
            "together, with the distance.",
        )

    def _copies(self, study: Study, findings: Findings) -> str:
        test = study.measure("test")
        chosen = np.random.default_rng(study.seed + 2).permutation(len(test))[: self.images]
        originals = torch.tensor(test.data[chosen])
        augment = getattr(study.data, "augment", None)
        if augment is None:
            return "The data have no augmentation, so there are no copies to draw as clusters."
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(study.seed)
            copies = augment(originals.repeat_interleave(self.copies, dim=0)).cpu()
        if torch.equal(copies, originals.repeat_interleave(self.copies, dim=0)):
            return "The augmentation is switched off, so there are no copies to draw as clusters."
        moved = in_batches(study.app.encode, copies.numpy(), "augmented copies")
        groups = moved.reshape(len(chosen), self.copies, -1)
        base = test.latent[chosen]
        plane = centre_plane(list(groups))
        clusters = [plane(np.r_[z[None], group]) for z, group in zip(base, groups, strict=True)]
        findings.figures["copies"] = Plot(
            plot_clusters(
                plane(study.measure("train").latent), clusters, test.data[chosen], plane.labels
            ),
            f"{self.copies} augmented copies of each of {len(chosen)} test images (stars), in the "
            "colour of the frame, over the training latents in grey. In this plane the centres of "
            "the clusters lie farthest apart.",
        )
        within = np.mean([np.linalg.norm(g - g.mean(axis=0), axis=1).mean() for g in groups])
        centres = groups.mean(axis=1)
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        between = apart[np.triu_indices(len(centres), 1)].mean() if len(centres) > 1 else np.nan
        return (
            f"Augmented copies lie {within:.1f} from the centre of their own cluster on average, "
            f"in all {moved.shape[1]:,} dimensions; the centres lie {between:.1f} apart."
        )


def _short(name: str) -> str:
    return name if len(name) <= 13 else name[:12] + "…"


def _projected(plane: Plane, latents: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: plane(latent) for name, latent in latents.items()}


def _distance(study: Study, name: str, mean: np.ndarray) -> np.ndarray:
    latent = study.measure(name).latent
    blocks = (latent[i : i + 1024] - mean for i in range(0, len(latent), 1024))
    return np.concatenate([np.linalg.norm(block, axis=1) for block in blocks])
