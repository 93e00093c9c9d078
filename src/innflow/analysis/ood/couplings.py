"""Log-scale, shift and outputs of every coupling for images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from innflow.analysis.examples import choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot, Table, add_correlation, finite_mean
from innflow.analysis.study import ImageAnalysis, Study
from innflow.config.bounds import Positive
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.pixels import diverging_pixels, map_limit, signed_pixels
from innflow.flow.inspect import CouplingTrace
from innflow.metric import neighbour_correlation, pearson


@dataclass
class Couplings(ImageAnalysis):
    """Draw log-scale, shift and outputs of couplings for an inlier and one of each outlier set.

    After Kirichenko et al. (arXiv:2006.08545): a coupling network that predicts the transformed
    pixels from their neighbours, so that -t is close to e^s x, leads to a high likelihood of any
    smooth image.

        >>> Couplings(shown=4)
        Couplings(shown=4, items=32)

    Attributes:
        shown: number of couplings in the figures, at even distances.
        items: number of images of each set for the metrics.
    """

    shown: Positive = 8
    items: Positive = 32

    def __call__(self, study: Study) -> Findings:
        """Return `couplings/prediction/SET` and `couplings/neighbours/SET` with the figures.

        They are the correlation of -t with e^s x, and the correlation of neighbouring outputs of
        the last coupling.
        """
        self.check(study)
        sets = ["test", *study.outliers]
        items = study.count(self.items, 4)
        metrics: dict[str, float] = {}
        rows, logdet = [], []
        for name in sets:
            images = study.measure(name).data[:items]
            traces = trace(study, images)
            logdet.append([float(one.log_scale.sum(dim=(1, 2, 3)).mean()) for one in traces])
            predicted = finite_mean([prediction(one) for one in traces])
            before = finite_mean(neighbour_correlation(images))
            after = finite_mean(neighbour_correlation(traces[-1].outputs.numpy()))
            cells = [
                add_correlation(metrics, f"couplings/prediction/{name}", predicted),
                add_correlation({}, "", before),
                add_correlation(metrics, f"couplings/neighbours/{name}", after),
            ]
            rows.append([name, str(len(images)), *cells])
        layers = [layer.replace("\n", ", ") for layer in coupling_names(traces)]
        text = (
            f"Each of {len(layers)} couplings maps one part x of the features to e^s x + t, with s "
            "and t computed from the other part. If the network predicts x from that part, t "
            f"cancels e^s x. Correlation of -t with e^s x over the transformed features of {items} "
            "images a set, mean over the couplings: "
            f"{'; '.join(f'{row[0]} {row[2]}' for row in rows)}. Similar values for "
            "outliers and inliers mean that the flow has learned the correlations of neighbouring "
            "pixels, which all images share.\n\nCorrelation of neighbouring values, of the image "
            "and of the outputs of the last coupling in image layout: "
            f"{'; '.join(f'{row[0]} {row[3]} to {row[4]}' for row in rows)}. It is 0 for white "
            "noise."
        )
        columns = ["set", "images", "-t with e^s x", "neighbours in x", "neighbours in z"]
        tables = [
            Table("Correlations of the couplings", columns, rows),
            Table(
                f"Log-determinant of each coupling (sum of log s, nats), mean over {items} images",
                ["coupling", *sets],
                [
                    [layer, *(f"{value:+.1f}" for value in values)]
                    for layer, *values in zip(layers, *logdet, strict=True)
                ],
            ),
        ]
        return Findings("Couplings", text, metrics, self._figures(study), tables)

    def _figures(self, study: Study) -> dict[str, Plot]:
        """Draw log s next to t, and the outputs."""
        examples = choose_examples(study)
        traces = trace(study, examples.images)
        chosen = choose_evenly(list(zip(coupling_names(traces), traces, strict=True)), self.shown)
        pictures = study.picture(examples.images)
        colored = np.broadcast_to(pictures, (len(pictures), 3, *pictures.shape[2:]))
        empty = np.full_like(colored, 255)
        pairs, labels = [_alternate(colored, empty)], ["image"]
        outputs = [pictures]
        for name, one in chosen:
            maps = [part.mean(dim=1).numpy() for part in (one.log_scale, one.shift)]
            limits = [map_limit(part) for part in maps]
            pairs.append(_alternate(*map(diverging_pixels, maps, limits)))
            labels.append(f"{name}\n|log s| ≤ {limits[0]:.2g}\n|t| ≤ {limits[1]:.2g}")
            values = one.outputs.numpy()
            outputs.append(signed_pixels(values, map_limit(values)))
        headings = [heading for name in examples.names for heading in (name, "")]
        notes = [["log s", "t"] * len(pictures)]
        scope = f"{len(chosen)} of {len(traces)} couplings, first to last, in image layout,"
        channels = " averaged over the channels," if study.app.shape[0] > 1 else ""
        return {
            "couplings": Plot(
                plot_image_rows(pairs, labels, headings, notes, group=2),
                f"Log-scale log s and shift t of {scope}{channels} for an image of test and one of "
                "each outlier set. A row has one colour scale for log s and one for t, from the "
                "negative limit at its left (blue) to the positive (red); white is 0, also if a "
                "coupling changes nothing. A squeeze turns neighbouring pixels into channels, "
                "hence the grids." + examples.note,
            ),
            "outputs": Plot(
                plot_image_rows(outputs, ["image", *(name for name, _ in chosen)], examples.names),
                f"Outputs of {scope} with the features that left the flow at earlier levels. "
                "Mid-grey is 0; a row has one scale." + examples.note,
            ),
        }


def _alternate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the items of two arrays (N, ...) alternately, (2 * N, ...)."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def trace(study: Study, images: np.ndarray) -> list[CouplingTrace]:
    """Return log-scale, shift and outputs of every coupling for images (N, C, H, W), on the CPU."""
    fields = "log_scale", "shift", "outputs"
    return [
        replace(one, **{name: getattr(one, name).cpu() for name in fields})
        for one in study.density.trace(torch.tensor(images))
    ]


def coupling_names(traces: Sequence[CouplingTrace]) -> list[str]:
    """Return the level and the number within it of each coupling, on two lines."""
    counts = Counter[int]()
    names = []
    for one in traces:
        counts[one.level] += 1
        names.append(f"level {one.level + 1}\ncoupling {counts[one.level]}")
    return names


def prediction(one: CouplingTrace) -> float:
    """Return the correlation of -t with e^s x over the transformed features; NaN without any."""
    changed = (one.log_scale != 0) | (one.shift != 0)
    shift = one.shift[changed]
    return pearson(-shift.numpy(), (one.outputs[changed] - shift).numpy())
