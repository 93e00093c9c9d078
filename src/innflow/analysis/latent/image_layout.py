"""Latents in image layout, single ones and means over dequantization noise."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from innflow.analysis.examples import check_couplings, choose_examples
from innflow.analysis.findings import Findings, Plot, Table, add_correlation
from innflow.analysis.study import Analysis, Study, in_batches, require_whole
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.mosaic import signed_pixels
from innflow.figure.ood.coupling_maps import map_limit
from innflow.metric import edge_correlation


@dataclass
class LatentImages(Analysis):
    """Draw z in image layout, and its mean over dequantization noise.

    After Kirichenko et al. (arXiv:2006.08545): outlines of the image are visible in that mean.

        >>> LatentImages(draws=10)
        LatentImages(draws=10, items=24)

    Attributes:
        draws: of the dequantization noise of each image.
        items: number of images of each set for the metrics.
    """

    draws: int = 40
    items: int = 24

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and settings out of range."""
        require_whole("latent_images.draws", self.draws, 2)
        check_couplings(study, "latent_images", 1, self.items)

    def __call__(self, study: Study) -> Findings:
        """Draw x, z and the mean of z; the metrics are its relative length and edge correlation."""
        self.check(study)
        draws = study.count(self.draws, 4)
        metrics: dict[str, float] = {}
        rows = []
        for name in ("test", *study.outliers):
            images = study.measure(name).data[: study.count(self.items, 4)]
            means = _means(study, images, draws, name)
            chance = np.sqrt(means.shape[1] / draws)
            ratio = np.linalg.norm(means, axis=1).mean() / chance
            edges = edge_correlation(layout(study, means), images)
            metrics[f"latent_images/mean_norm/{name}"] = float(ratio)
            mean_edges = float(np.nanmean(edges)) if np.isfinite(edges).any() else np.nan
            cell = add_correlation(metrics, f"latent_images/edges/{name}", mean_edges)
            rows.append([name, str(len(images)), f"{ratio:.2f}", cell])
        norms = "; ".join(f"{name} {ratio}" for name, _, ratio, _ in rows)
        edges_text = "; ".join(f"{name} {value}" for name, _, _, value in rows)
        text = (
            f"Norm of the mean latent of one image over {draws} draws of the dequantization noise, "
            f"divided by sqrt(D / {draws}), the norm for independent draws of the standard normal; "
            f"mean over images: {norms}. A latent of typical norm that the noise does not change "
            f"has {np.sqrt(draws):.1f}. Correlation over pixels of the absolute value of that mean "
            f"with the edges of the image: {edges_text}. Above 0, the latent still contains the "
            "outlines of the image."
        )
        columns = ["set", "images", "norm / expected", "correlation with edges"]
        table = Table(f"Mean latent over {draws} draws of the noise", columns, rows)
        figures = {"latent_images": _plot(study, draws)}
        return Findings("Latents as images", text, metrics, figures, [table])


def _plot(study: Study, draws: int) -> Plot:
    examples = choose_examples(study, inliers=3, outliers=2)
    latent = layout(study, study.encode(examples.images, "latents"))
    mean = layout(study, _means(study, examples.images, draws, "examples"))
    limits = map_limit(latent), map_limit(mean)
    # Sizes from black at 0: the upper half of a signed map.
    size = np.abs(mean).mean(axis=1, keepdims=True)
    largest = map_limit(size)
    rows = {
        "image": study.picture(examples.images),
        "latent z": signed_pixels(latent, limits[0]),
        f"mean of z\n{draws} draws": signed_pixels(mean, limits[1]),
        "|mean of z|": signed_pixels(2 * size - largest, largest),
    }
    figure = plot_image_rows(list(rows.values()), list(rows), columns=examples.names)
    return Plot(
        figure,
        "Images, their latents in image layout (without noise), and the mean latent over "
        f"{draws} draws of the dequantization noise of the same image. Mid-grey is 0; "
        f"black and white are {limits[0]:.2g} from it in the second row and {limits[1]:.2g} "
        "in the third. Last row: its absolute value, averaged over the channels, from 0 "
        f"(black) to {largest:.2g} (white)." + examples.note,
    )


def _means(study: Study, images: np.ndarray, draws: int, name: str) -> np.ndarray:
    """Return the mean latents (N, D) over the noise."""
    total = np.zeros(1)
    for seed in range(study.seed, study.seed + draws):
        encode = partial(study.density.encode, noise_seed=seed)
        total = total + in_batches(encode, images, f"noise of {name}").astype(np.float64)
    return total / draws


def layout(study: Study, latent: np.ndarray) -> np.ndarray:
    """Return latents (N, D) as (N, C, H, W)."""
    return study.density.latent_layout(torch.tensor(latent)).detach().cpu().numpy()
