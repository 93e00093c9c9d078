"""What the network of every coupling predicts of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from innflow.analysis.examples import check_couplings, choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study
from innflow.figure.ood.coupling import plot_coupling_maps
from innflow.metric import pearson


@dataclass
class Couplings:
    """Draws the scale and shift maps of couplings for an inlier and one of each outlier set.

    After Kirichenko et al. (arXiv:2006.08545): a network that predicts what it does not see, -t
    near the changed pixels, makes any smooth image likely.

    Attributes:
        shown: couplings drawn, evenly chosen.
        items: images of each set that the numbers are about.
    """

    shown: int = 8
    items: int = 32

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and applications that cannot be looked into."""
        check_couplings(study, "couplings", self.shown, self.items)

    def __call__(self, study: Study) -> Findings:
        """Draw the maps; `couplings/prediction/<set>` says how well networks predict a set."""
        self.check(study)
        sets = ["test", *study.outliers]
        seen = {name: trace(study, study.measure(name).data[: self.items]) for name in sets}
        layers = coupling_names(seen["test"])
        logdet = {
            name: [float(one.log_scale.sum(axis=(1, 2, 3)).mean()) for one in found]
            for name, found in seen.items()
        }
        metrics = {}
        for name, found in seen.items():
            values = [value for one in found if np.isfinite(value := prediction(one))]
            if values:
                metrics[f"couplings/prediction/{name}"] = float(np.mean(values))
        listed = "; ".join(f"{key.split('/')[-1]} {value:.3f}" for key, value in metrics.items())
        text = (
            f"Each of {len(layers)} couplings changes a part of the features, x to e^s x + t, "
            "where s and t are predicted from the other part. Where the network knows what it "
            "does not see, t cancels e^s x; their correlation, -t with e^s x over the changed "
            f"features of {self.items} images a set, averaged over the couplings: "
            f"{listed or 'not defined, for no coupling changes anything'}. A flow that predicts "
            "outliers as well as inliers has learned what neighbouring pixels share, not what the "
            "images show."
        )
        table = Table(
            f"Log-determinant of each coupling (sum of log s, nats), mean over {self.items} images",
            ["coupling", *sets],
            [
                [layer.replace("\n", ", "), *(f"{logdet[name][row]:+.1f}" for name in sets)]
                for row, layer in enumerate(layers)
            ],
        )
        return Findings(
            "Scale and shift of the couplings",
            text,
            metrics,
            {"couplings": self._plot(study)},
            [table],
        )

    def _plot(self, study: Study) -> Plot:
        examples = choose_examples(study)
        seen = trace(study, examples.images)
        rows = choose_evenly(list(zip(coupling_names(seen), seen, strict=True)), self.shown)
        figure = plot_coupling_maps(
            study.picture(examples.images),
            examples.names,
            np.stack([one.log_scale.mean(axis=1) for _, one in rows]),
            np.stack([one.shift.mean(axis=1) for _, one in rows]),
            [name for name, _ in rows],
        )
        channels = " averaged over the channels," if study.app.shape[0] > 1 else ""
        return Plot(
            figure,
            f"Log-scale log s and shift t of {len(rows)} of {len(seen)} couplings, first to last,"
            f"{channels} in image layout, for an image of test and one of each outlier set. "
            "A row has one colour scale for log s and one for t, whose ends are written at its "
            "left; white is 0, as where a coupling changes nothing (s = 1, t = 0). Grids come from "
            "squeezes, which make channels of neighbouring pixels." + examples.note,
        )


class Maps(NamedTuple):
    """What a coupling does to N images, in image layout: (N, C, H, W) each.

    Attributes:
        level: of the flow, from 0.
        log_scale: log s, 0 where nothing is changed.
        shift: t, 0 where nothing is changed.
        outputs: all features after the coupling.
    """

    level: int
    log_scale: np.ndarray
    shift: np.ndarray
    outputs: np.ndarray


def trace(study: Study, images: np.ndarray) -> list[Maps]:
    """Return what every coupling does to images (N, C, H, W), first to last."""
    return [
        Maps(
            one.level,
            *(part.detach().cpu().numpy() for part in (one.log_scale, one.shift, one.outputs)),
        )
        for one in study.app.trace(torch.tensor(images))
    ]


def coupling_names(seen: Sequence[Maps]) -> list[str]:
    """Return the level and the number within it of each coupling, on two lines."""
    counts: dict[int, int] = {}
    names = []
    for one in seen:
        counts[one.level] = counts.get(one.level, 0) + 1
        names.append(f"level {one.level + 1}\ncoupling {counts[one.level]}")
    return names


def prediction(one: Maps) -> float:
    """Return the correlation of -t with e^s x over what a coupling changes; NaN where nothing."""
    changed = (one.log_scale != 0) | (one.shift != 0)
    shift = one.shift[changed]
    return pearson(-shift, one.outputs[changed] - shift)
