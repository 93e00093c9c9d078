"""What the temperature does to samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study, in_batches, to_pixels
from innflow.figure.sample import plot_image_rows
from innflow.metric import bits_per_dim


@dataclass
class Temperature:
    """Follows the same noise from cold to hot, and measures how samples change.

    Attributes:
        temperatures: one column each.
        rows: draws shown.
        items: draws measured at each temperature.
    """

    temperatures: Sequence[float] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    rows: int = 6
    items: int = 128

    def check(self, study: Study) -> None:
        """Refuse data that are not images."""
        study.require_images("temperature")

    def __call__(self, study: Study) -> Findings:
        """Draw the grid, and tabulate bits/dim and contrast beside those of test."""
        self.check(study)
        drawn = {t: to_pixels(study.sample(self.items, t)) for t in self.temperatures}
        table = []
        for t, images in drawn.items():
            log_prob = in_batches(study.app.log_prob, images, f"samples at T = {t:g}")
            table.append([f"{t:g}", *_cells(images, log_prob, study.dims)])
        test = study.measure("test")
        table.append(["test images", *_cells(test.data, test.log_prob, study.dims)])
        grid = [
            np.stack([images[row] for images in drawn.values()])
            for row in range(min(self.rows, self.items))
        ]
        figure = plot_image_rows(
            grid, [""] * len(grid), columns=[f"T = {t:g}" for t in self.temperatures]
        )
        text = (
            f"{self.items} samples at each of {len(drawn)} temperatures, from the same noise, "
            f"and {len(test):,} test images. Contrast is the standard deviation within an image; "
            "spread is that of a pixel over the images: samples as varied as test have its numbers."
        )
        columns = [
            "temperature",
            "bits/dim",
            "brightness",
            "contrast",
            "spread",
            "at 0 or 255",
        ]
        return Findings(
            "Temperature",
            text,
            figures={
                "temperature": Plot(
                    figure, "A row follows one draw of latent noise, scaled by the temperature T."
                )
            },
            tables=[Table("Samples by temperature, grey levels", columns, table)],
        )


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
