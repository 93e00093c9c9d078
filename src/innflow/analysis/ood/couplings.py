"""Log-scale and shift of every coupling for images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from innflow.analysis.examples import check_couplings, choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study
from innflow.figure.ood.coupling_maps import plot_coupling_maps
from innflow.flow.inspect import CouplingTrace
from innflow.metric import pearson


@dataclass
class Couplings(Analysis):
    """Draw the log-scale and shift maps of couplings for an inlier and one of each outlier set.

    After Kirichenko et al. (arXiv:2006.08545): a coupling network that predicts the transformed
    pixels from their neighbours (-t near e^s x) assigns a high likelihood to any smooth image.

        >>> Couplings(shown=4)
        Couplings(shown=4, items=32)

    Attributes:
        shown: number of couplings drawn, evenly chosen.
        items: number of images of each set for the metrics.
    """

    shown: int = 8
    items: int = 32

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and settings out of range."""
        check_couplings(study, "couplings", self.shown, self.items)

    def __call__(self, study: Study) -> Findings:
        """Draw the maps; `couplings/prediction/SET` is the correlation of -t with e^s x."""
        self.check(study)
        sets = ["test", *study.outliers]
        items = study.count(self.items, 8)
        traces = {name: trace(study, study.measure(name).data[:items]) for name in sets}
        layers = coupling_names(traces["test"])
        logdet = {
            name: [float(one.log_scale.sum(dim=(1, 2, 3)).mean()) for one in found]
            for name, found in traces.items()
        }
        metrics = {}
        for name, found in traces.items():
            values = [value for one in found if np.isfinite(value := prediction(one))]
            if values:
                metrics[f"couplings/prediction/{name}"] = float(np.mean(values))
        listed = "; ".join(f"{key.split('/')[-1]} {value:.3f}" for key, value in metrics.items())
        text = (
            f"Each of {len(layers)} couplings maps one part x of the features to e^s x + t, with s "
            "and t predicted from the other part. Where the network predicts x from that part, t "
            f"cancels e^s x. Correlation of -t with e^s x over the transformed features of {items} "
            "images a set, mean over the couplings: "
            f"{listed or 'not defined, for no coupling changes anything'}. Similar values for "
            "outliers and inliers mean that the flow has learned the correlations of neighbouring "
            "pixels, which all images share."
        )
        table = Table(
            f"Log-determinant of each coupling (sum of log s, nats), mean over {items} images",
            ["coupling", *sets],
            [
                [layer.replace("\n", ", "), *(f"{logdet[name][row]:+.1f}" for name in sets)]
                for row, layer in enumerate(layers)
            ],
        )
        figures = {"couplings": self._plot(study)}
        return Findings("Scale and shift of the couplings", text, metrics, figures, [table])

    def _plot(self, study: Study) -> Plot:
        examples = choose_examples(study)
        traces = trace(study, examples.images)
        rows = choose_evenly(list(zip(coupling_names(traces), traces, strict=True)), self.shown)
        figure = plot_coupling_maps(
            study.picture(examples.images),
            examples.names,
            np.stack([one.log_scale.mean(dim=1).numpy() for _, one in rows]),
            np.stack([one.shift.mean(dim=1).numpy() for _, one in rows]),
            [name for name, _ in rows],
        )
        channels = " averaged over the channels," if study.app.shape[0] > 1 else ""
        return Plot(
            figure,
            f"Log-scale log s and shift t of {len(rows)} of {len(traces)} couplings, first to last,"
            f"{channels} in image layout, for an image of test and one of each outlier set. "
            "A row has one colour scale for log s and one for t, whose limits are written at its "
            "left; white is 0, also where a coupling changes nothing (s = 1, t = 0). Squeezes make "
            "channels of neighbouring pixels, hence the grids." + examples.note,
        )


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
    """Return the correlation of -t with e^s x over the transformed features; NaN for none."""
    changed = (one.log_scale != 0) | (one.shift != 0)
    shift = one.shift[changed]
    return pearson(-shift.numpy(), (one.outputs[changed] - shift).numpy())
