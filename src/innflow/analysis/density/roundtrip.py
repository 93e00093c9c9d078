"""Whether the flow gives back what it was given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Study, in_batches
from innflow.figure.sample import plot_image_rows


@dataclass
class RoundTrip:
    """Encodes and decodes training and test items and compares.

    Attributes:
        items: how many of each of train and test.
        shown: pictures in the figure.
    """

    items: int = 256
    shown: int = 10

    def __call__(self, study: Study) -> Findings:
        """Return the largest error as `roundtrip/max_error`, in data units."""
        train, test = (study.measure(name).data[: self.items] for name in ("train", "test"))
        originals = np.concatenate([train, test])
        regenerated = in_batches(
            lambda x: study.app.decode(study.app.encode(x)), originals, "round trip"
        )
        error = np.abs(regenerated - originals.astype(np.float64))
        largest = float(error.max())
        metrics = {"roundtrip/max_error": largest}
        text = (
            f"{len(train):,} training and {len(test):,} test items through the flow and back: "
            f"the largest error is {largest:.2g} in data units"
        )
        if not study.is_image:
            return Findings("Round trip", text + ".", metrics)
        metrics["roundtrip/max_error_unit"] = largest / study.levels
        whole = np.clip(np.rint(regenerated), 0, study.levels - 1)
        changed = int(np.sum(whole != originals))
        text += (
            f" (grey levels of {study.levels}), or {largest / study.levels:.2g} where a pixel lies "
            f"in [0, 1); the mean error is {error.mean():.2g}. {changed:,} of {originals.size:,} "
            "pixel values differ after rounding."
        )
        first = slice(0, self.shown)
        second = slice(len(train), len(train) + self.shown)
        both = (originals, regenerated)
        rows = [study.picture(x[part]) for part in (first, second) for x in both]
        labels = ["train\noriginal", "regenerated", "test\noriginal", "regenerated"]
        caption = (
            f"Originals above what the inverse makes of their latent vectors. Largest error over "
            f"{len(originals):,} images: {largest:.2g} grey levels."
        )
        plot = Plot(plot_image_rows(rows, labels, block=2), caption)
        return Findings("Round trip", text, metrics, {"roundtrip": plot})
