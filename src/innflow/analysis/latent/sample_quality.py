"""Distances of samples from test images, by features of a pretrained network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import ImageAnalysis, Study, to_pixels
from innflow.data.feature.backbone import Backbone
from innflow.errors import InnflowError
from innflow.figure.image_rows import plot_image_rows
from innflow.metric import LinearProbe, frechet_distance, kernel_distance, precision_recall

EXPLODED = 8.0
"""A sample with a pixel so many ranges of grey levels outside of them has exploded."""


@dataclass
class SampleQuality(ImageAnalysis):
    """Compare samples with test images by features of a pretrained network.

    Kernel distance (KID), Frechet distance, precision and recall of samples are compared with those
    of as many training images, the best that samples can reach without copying. Where the data have
    a general set, a linear probe that separates it from the training images counts the samples on
    the side of the training images. Images are enlarged to the size of the network.

        >>> SampleQuality(samples=100).temperature
        0.8

    Attributes:
        samples: number of samples, and of training and general images.
        temperature: of the samples.
        network: see `Embeddings`.
        size: side to which all images are enlarged, in pixels.
        exploded: number of samples at temperature 1 among which exploded ones are counted.
    """

    samples: int = 500
    temperature: float = 0.8
    network: str = "efficientnet_lite0"
    size: int = 128
    exploded: int = 1000

    def check(self, study: Study) -> None:
        """Raise InnflowError without images or without the network."""
        super().check(study)
        if study.app.shape[0] != 3:
            raise InnflowError(
                f"analysis sample_quality: the network has 3 channels, the images have "
                f"{study.app.shape[0]}: leave it out with analysis.sample_quality=null"
            )
        self._backbone()

    def _backbone(self) -> Backbone:
        return Backbone(self.network, self.size)

    def __call__(self, study: Study) -> Findings:
        """Measure the distances and draw the samples."""
        self.check(study)
        backbone, count = self._backbone(), study.count(self.samples, 16)
        train, test = study.measure("train").data, study.measure("test").data
        chosen = np.random.default_rng(study.seed).permutation(len(train))
        images = {
            "samples": to_pixels(study.sample(count, self.temperature)),
            "training images": study.picture(train[chosen[:count]]),
        }
        if study.fitted_latents is not None:
            drawn = to_pixels(study.sample(count, self.temperature, exact=True))
            images["samples of the density"] = drawn
        general = study.data.general_set
        if general is not None:
            some = np.random.default_rng(study.seed).permutation(len(general))[:count]
            images["general images"] = study.picture(general.parts["x"].numpy()[some])
        features = {name: backbone(enlarge(x, self.size)).numpy() for name, x in images.items()}
        reference = backbone(enlarge(study.picture(test), self.size)).numpy()
        rest = chosen[count : 2 * count]
        probe = None
        if general is not None and len(rest) > 1:
            inliers = backbone(enlarge(study.picture(train[rest]), self.size)).numpy()
            probe = LinearProbe(inliers, features.pop("general images"))
        found = {name: self._compare(x, reference, probe) for name, x in features.items()}
        metrics = {f"samples/{key}": value for key, value in found["samples"].items()}
        metrics |= {f"samples/{key}_train": v for key, v in found["training images"].items()}
        density = found.get("samples of the density", {})
        metrics |= {f"samples/{key}_density": v for key, v in density.items()}
        large = self._count_exploded(study)
        metrics["samples/exploded"] = large
        columns = list(found["samples"])
        rows = [[name, *(f"{v[c]:.4g}" for c in columns)] for name, v in found.items()]
        plot = partial(plot_image_rows, labels=[""] * 4)
        shown = images["samples"][: 4 * (count // 4)][:48]
        return Findings(
            "Sample quality",
            f"{count} samples at temperature {self.temperature:g} are compared with {len(test)} "
            f"test images by features of {self.network}, all images enlarged from "
            f"{study.app.shape[1]} to {self.size} pixels. Smaller distances are better; a Frechet "
            "distance depends on the number of images and compares only rows of this table. "
            f"Precision is the share of samples among the test images, recall that of test images "
            "among the samples. Samples are drawn as by innflow-sample, those of the density with "
            f"exact=true. Of {study.count(self.exploded, 16)} samples of the density at "
            f"temperature 1, {large:.1%} are far outside the range of grey levels.",
            metrics,
            {"unselected": Plot(plot(np.split(shown, 4)), "Samples, not selected.")},
            [Table("Distance from the test images", ["set", *columns], rows)],
        )

    def _compare(
        self, x: np.ndarray, reference: np.ndarray, probe: LinearProbe | None
    ) -> Mapping[str, float]:
        precision, recall = precision_recall(x, reference)
        found = {
            "kid": kernel_distance(x, reference),
            "frechet": frechet_distance(x, reference),
            "precision": precision,
            "recall": recall,
        }
        return found if probe is None else {**found, "inlier_share": probe.share(x)}

    def _count_exploded(self, study: Study) -> float:
        levels = study.data.levels
        count = study.count(self.exploded, 16)
        latents = study.density.draw_latents(count, 1.0, study.seed).cpu().numpy()
        drawn = study.decode(latents).reshape(-1, study.dims)
        far = np.abs(drawn - levels / 2) > (EXPLODED + 0.5) * levels
        return float((far | ~np.isfinite(drawn)).any(axis=1).mean())


def enlarge(images: np.ndarray, size: int) -> Tensor:
    """Return images uint8 (N, C, H, W) with sides of `size` pixels, by bicubic interpolation."""
    x = torch.tensor(images).float()
    x = interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=True)
    return x.round().clamp(0, 255).to(torch.uint8)
