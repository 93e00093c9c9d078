"""What becomes of an image on its way through the flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innflow.analysis.examples import check_couplings, choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.ood.couplings import coupling_names, trace
from innflow.analysis.study import Study
from innflow.figure.mosaic import signed_pixels
from innflow.figure.ood.coupling import map_limit
from innflow.figure.sample import plot_image_rows
from innflow.metric import neighbour_correlation


@dataclass
class Layers:
    """Draws the outputs of couplings in image layout, for an inlier and one of each outlier set.

    Attributes:
        shown: couplings drawn, evenly chosen.
        items: images of each set that the numbers are about.
    """

    shown: int = 8
    items: int = 32

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and applications that cannot be looked into."""
        check_couplings(study, "layers", self.shown, self.items)

    def __call__(self, study: Study) -> Findings:
        """Draw the outputs; `layers/neighbours/<set>` is how smooth the last of them are."""
        self.check(study)
        metrics, listed = {}, []
        for name in ("test", *study.outliers):
            images = study.measure(name).data[: self.items]
            before = neighbour_correlation(images)
            after = neighbour_correlation(trace(study, images)[-1].outputs)
            if np.isfinite(after).any() and np.isfinite(before).any():
                metrics[f"layers/neighbours/{name}"] = float(np.nanmean(after))
                listed.append(f"{name} {np.nanmean(before):.2f} to {np.nanmean(after):.2f}")
        examples = choose_examples(study, inliers=2)
        seen = trace(study, examples.images)
        rows = choose_evenly(list(zip(coupling_names(seen), seen, strict=True)), self.shown)
        pictures = [study.picture(examples.images)]
        pictures += [signed_pixels(one.outputs, map_limit(one.outputs)) for _, one in rows]
        figure = plot_image_rows(
            pictures, ["image", *(name for name, _ in rows)], columns=examples.names
        )
        text = (
            "Correlation of neighbouring values, from the image to the outputs of the last "
            f"coupling in image layout, mean over {self.items} images a set: {'; '.join(listed)}. "
            "A flow that took all structure out of a set would leave white noise, 0."
        )
        plot = Plot(
            figure,
            f"Outputs of {len(rows)} of {len(seen)} couplings, first to last, in image layout: all "
            "features, changed or not, with those that have left the flow before. Mid-grey is 0; "
            "each row has one scale for all images. Images of test and of outlier sets."
            + examples.note,
        )
        return Findings("Images layer by layer", text, metrics, {"layers": plot})
