"""Latents looked at as images, alone and averaged over dequantization noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from innflow.analysis.examples import choose_examples, require_method
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study, require_whole
from innflow.figure.mosaic import signed_pixels
from innflow.figure.ood.coupling import map_limit
from innflow.figure.sample import plot_image_rows
from innflow.metric import edge_correlation
from innflow.system.progress import track


@dataclass
class LatentImages:
    """Draws z in image layout, and its mean over the noise, in which the image's shape shows.

    After Kirichenko et al. (arXiv:2006.08545).

    Attributes:
        draws: of the dequantization noise of each image.
        items: images of each set that the numbers are about.
    """

    draws: int = 40
    items: int = 24

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and applications without a latent in their layout."""
        require_whole("latent_images.draws", self.draws, 2)
        require_whole("latent_images.items", self.items, 1)
        study.require_images("latent_images")
        require_method(study, "latent_images", "latent_layout", "lay its latent out as an image")

    def __call__(self, study: Study) -> Findings:
        """Draw x, z and the mean of z; the metrics compare its length with that by chance."""
        self.check(study)
        metrics: dict[str, float] = {}
        rows = []
        for name in ("test", *study.outliers):
            images = study.measure(name).data[: self.items]
            means = self._means(study, images, name)
            chance = np.sqrt(means.shape[1] / self.draws)
            ratio = np.linalg.norm(means, axis=1).mean() / chance
            edges = edge_correlation(layout(study, means), images)
            metrics[f"latent_images/mean_norm/{name}"] = float(ratio)
            cells = [name, str(len(images)), f"{ratio:.2f}"]
            if np.isfinite(edges).any():
                metrics[f"latent_images/edges/{name}"] = float(np.nanmean(edges))
                cells.append(f"{np.nanmean(edges):+.3f}")
            else:
                cells.append("-")
            rows.append(cells)
        norms = "; ".join(f"{name} {ratio}" for name, _, ratio, _ in rows)
        edges_text = "; ".join(f"{name} {value}" for name, _, _, value in rows)
        text = (
            f"The latents of one image under {self.draws} draws of the dequantization noise have "
            "a mean. Were they independent draws of the standard normal, its length would be "
            f"sqrt(D / {self.draws}); it is so many times as long (mean over images; "
            f"{np.sqrt(self.draws):.1f} for a latent of usual length that the noise does not "
            f"move): {norms}. "
            f"Correlation of the size of that mean with the edges of the image, pixel by pixel: "
            f"{edges_text}. Above 0, the latent still holds the outlines of what is shown."
        )
        table = Table(
            f"Mean latent over {self.draws} draws of the noise",
            ["set", "images", "length / chance", "correlation with edges"],
            rows,
        )
        return Findings(
            "Latents as images", text, metrics, {"latent_images": self._plot(study)}, [table]
        )

    def _plot(self, study: Study) -> Plot:
        examples = choose_examples(study, inliers=3, outliers=2)
        latent = layout(study, study.encode(examples.images, "latents"))
        mean = layout(study, self._means(study, examples.images, "examples"))
        limits = map_limit(latent), map_limit(mean)
        # Sizes from black at 0: the upper half of a signed map.
        size = np.abs(mean).mean(axis=1, keepdims=True)
        largest = map_limit(size)
        figure = plot_image_rows(
            [
                study.picture(examples.images),
                signed_pixels(latent, limits[0]),
                signed_pixels(mean, limits[1]),
                signed_pixels(2 * size - largest, largest),
            ],
            ["image", "latent z", f"mean of z\n{self.draws} draws", "size of\nthe mean"],
            columns=examples.names,
        )
        return Plot(
            figure,
            "Images, their latents in image layout (without noise), and the mean latent over "
            f"{self.draws} draws of the dequantization noise of the same image. Mid-grey is 0; "
            f"black and white are {limits[0]:.2g} from it in the second row and {limits[1]:.2g} "
            "in the third. Last row: the size of that mean, averaged over the channels, from 0 "
            f"(black) to {largest:.2g} (white)." + examples.note,
        )

    def _means(self, study: Study, images: np.ndarray, name: str) -> np.ndarray:
        """Return the mean latents (N, D) over the noise, one image at a time."""
        means = []
        for index, image in enumerate(track(images, f"noise of {name}")):
            copies = torch.tensor(image[None]).expand(self.draws, *image.shape)
            # One seed for a batch: its copies get different noise, and every image its own.
            latent = study.app.encode(copies, noise_seed=study.seed + index)
            means.append(latent.double().mean(dim=0).cpu().numpy())
        return np.stack(means)


def layout(study: Study, latent: np.ndarray) -> np.ndarray:
    """Return latents (N, D) as (N, C, H, W)."""
    return study.app.latent_layout(torch.tensor(latent)).detach().cpu().numpy()
