"""Outputs of the couplings in image layout."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.examples import check_couplings, choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.ood.couplings import coupling_names, trace
from innflow.analysis.study import Analysis, Study
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.mosaic import signed_pixels
from innflow.figure.ood.coupling_maps import map_limit
from innflow.metric import neighbour_correlation


@dataclass
class Layers(Analysis):
    """Draw the outputs of couplings in image layout, for two inliers and one of each outlier set.

        >>> Layers(items=4)
        Layers(shown=8, items=4)

    Attributes:
        shown: number of couplings drawn, evenly chosen.
        items: number of images of each set for the metrics.
    """

    shown: int = 8
    items: int = 32

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and settings out of range."""
        check_couplings(study, "layers", self.shown, self.items)

    def __call__(self, study: Study) -> Findings:
        """Draw the outputs; `layers/neighbours/SET` is the neighbour correlation of the last."""
        self.check(study)
        metrics, listed = {}, []
        items = study.count(self.items, 8)
        for name in ("test", *study.outliers):
            images = study.measure(name).data[:items]
            before = neighbour_correlation(images)
            after = neighbour_correlation(trace(study, images)[-1].outputs.numpy())
            if np.isfinite(after).any() and np.isfinite(before).any():
                metrics[f"layers/neighbours/{name}"] = float(np.nanmean(after))
                listed.append(f"{name} {np.nanmean(before):.2f} to {np.nanmean(after):.2f}")
        examples = choose_examples(study, inliers=2)
        traces = trace(study, examples.images)
        rows = choose_evenly(list(zip(coupling_names(traces), traces, strict=True)), self.shown)
        pictures = [study.picture(examples.images)]
        for _, one in rows:
            maps = one.outputs.numpy()
            pictures.append(signed_pixels(maps, map_limit(maps)))
        labels = ["image", *(name for name, _ in rows)]
        figure = plot_image_rows(pictures, labels, columns=examples.names)
        text = (
            "Correlation of neighbouring values of the image and of the outputs of the last "
            f"coupling in image layout, mean over {items} images a set: {'; '.join(listed)}. White "
            "noise has 0."
        )
        plot = Plot(
            figure,
            f"Outputs of {len(rows)} of {len(traces)} couplings, first to last, in image layout, "
            "with the features that left the flow at earlier levels. Mid-grey is 0; a row has one "
            "scale for all images of test and of the outlier sets." + examples.note,
        )
        return Findings("Images layer by layer", text, metrics, {"layers": plot})
