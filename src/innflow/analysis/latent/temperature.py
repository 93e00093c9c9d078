"""Samples of the same noise at several temperatures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import ImageAnalysis, Study, in_batches, to_pixels
from innflow.figure.image_rows import plot_image_rows
from innflow.metric import bits_per_dim


@dataclass
class Temperature(ImageAnalysis):
    """Draw and measure samples of the same latent noise at rising temperatures.

        >>> Temperature(temperatures=(0.5, 1.0), items=16).rows
        6

    Attributes:
        temperatures: one column for each.
        rows: number of draws shown.
        items: number of draws measured at each temperature.
    """

    temperatures: Sequence[float] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    rows: int = 6
    items: int = 128

    def __call__(self, study: Study) -> Findings:
        """Draw the grid, and tabulate bits per dim and contrast with those of the test set."""
        self.check(study)
        items = study.count(self.items, 8)
        drawn = {t: to_pixels(study.sample(items, t, exact=True)) for t in self.temperatures}
        table = []
        for t, images in drawn.items():
            log_prob = in_batches(study.density.log_prob, images, f"samples at T = {t:g}")
            table.append([f"{t:g}", *_cells(images, log_prob, study.dims)])
        test = study.measure("test")
        table.append(["test images", *_cells(test.data, test.log_prob, study.dims)])
        grid = np.stack(list(drawn.values()), axis=1)[: self.rows]
        figure = plot_image_rows(
            list(grid), [""] * len(grid), columns=[f"T = {t:g}" for t in self.temperatures]
        )
        caption = "Samples of the density. A row has the same latent noise, scaled by T."
        text = (
            f"{items} samples at each of {len(drawn)} temperatures, from the same noise, "
            f"and {len(test):,} test images. Contrast is the standard deviation within an image; "
            "spread is that of a pixel over the images. Bits per dim are at the bin centres, not "
            "a bound."
        )
        columns = [
            "temperature",
            "bits/dim, bin centre",
            "mean",
            "contrast",
            "spread",
            "share at 0 or 255",
        ]
        found = Table("Samples by temperature, grey levels", columns, table)
        return Findings("Temperature", text, {}, {"temperature": Plot(figure, caption)}, [found])


def _cells(images: np.ndarray, log_prob: np.ndarray, dims: int) -> list[str]:
    pixels = images.reshape(len(images), -1).astype(np.float64)
    ends = np.mean((images == 0) | (images == 255))
    return [
        f"{bits_per_dim(log_prob, dims).mean():.3f}",
        f"{pixels.mean():.1f}",
        f"{pixels.std(axis=1).mean():.1f}",
        f"{pixels.std(axis=0).mean():.1f}",
        f"{ends:.1%}",
    ]
