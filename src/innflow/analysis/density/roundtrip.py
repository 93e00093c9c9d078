"""Reconstruction error of encoding followed by decoding."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.figure.image_rows import plot_image_rows


@dataclass
class RoundTrip(Analysis):
    """Encode and decode training and test items, and compare them with the originals.

        >>> RoundTrip(items=100).shown
        10

    Attributes:
        items: number of training items and of test items.
        shown: number of images of each set in the figure.
    """

    items: int = 256
    shown: int = 10

    def __call__(self, study: Study) -> Findings:
        """Return the largest error as `roundtrip/max_error`, in data units."""
        items = study.count(self.items, 32)
        train, test = (study.measure(name).data[:items] for name in ("train", "test"))
        originals = np.concatenate([train, test])
        regenerated = in_batches(
            lambda x: study.density.decode(study.density.encode(x)), originals, "round trip"
        )
        error = np.abs(regenerated - originals.astype(np.float64))
        largest = float(error.max())
        metrics = {"roundtrip/max_error": largest}
        text = (
            f"Largest error after encoding and decoding {len(train):,} training and {len(test):,} "
            f"test items: {largest:.2g} in data units"
        )
        if not study.is_image:
            return Findings("Round trip", text + ".", metrics)
        levels = study.data.levels
        metrics["roundtrip/max_error_unit"] = largest / levels
        changed = int(np.sum(study.round(regenerated) != originals))
        text += (
            f" ({levels} grey levels), or {largest / levels:.2g} for pixels in [0, 1); mean "
            f"error {error.mean():.2g}. {changed:,} of {originals.size:,} "
            "pixel values differ after rounding."
        )
        first = slice(0, self.shown)
        second = slice(len(train), len(train) + self.shown)
        both = (originals, regenerated)
        rows = [study.picture(x[part]) for part in (first, second) for x in both]
        labels = ["train\noriginal", "regenerated", "test\noriginal", "regenerated"]
        caption = (
            f"Originals, each with its reconstruction below. Largest error over {len(originals):,} "
            f"images: {largest:.2g} grey levels."
        )
        plot = Plot(plot_image_rows(rows, labels, block=2), caption)
        return Findings("Round trip", text, metrics, {"roundtrip": plot})
