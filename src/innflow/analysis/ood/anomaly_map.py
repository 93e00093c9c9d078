"""Anomaly maps: the contribution of each position of an image to its negative log-likelihood."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.ood.gallery import pictures_of
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.config.bounds import Positive
from innflow.data.feature.embeddings import Embeddings
from innflow.errors import InnflowError
from innflow.figure.ood.heat_overlay import UNIT, choose_limits, plot_anomaly_maps

MEASURED = 128
"""Largest number of items of a set whose maps are computed."""


@dataclass
class AnomalyMap(Analysis):
    """Draw the contribution of each position to -log p on top of the image.

    See `Unconditional.anomaly_map`. For images, and for maps of features of images.

        >>> AnomalyMap(shown=2)
        AnomalyMap(shown=2)

    Attributes:
        shown: number of images of each set.
    """

    shown: Positive = 4

    def check(self, study: Study) -> None:
        """Raise InnflowError for data that are neither images nor feature maps of images."""
        if not study.is_image and not (
            len(study.app.shape) == 3 and isinstance(study.data, Embeddings)
        ):
            raise InnflowError(
                f"analysis anomaly_map: needs images or maps of features, the data have shape "
                f"{tuple(study.app.shape)}: choose data=embeddings data.spatial=true "
                "data.layer=NAME model=maps, or leave it out with analysis.anomaly_map=null"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `map/SET/mean` and `map/SET/peak`, averages over a set, with the figure."""
        self.check(study)
        if reason := study.density.why_no_map():
            return Findings("Anomaly maps", f"There are none. {reason.capitalize()}.")
        metrics: dict[str, float] = {}
        rows, pictures, shown, maps = [], [], [], {}
        for name in ("test", *study.outliers):
            order = self._order(study, name)
            x = study.measure(name).data[order[: max(self.shown, study.count(MEASURED, 8))]]
            maps[name] = values = in_batches(study.density.anomaly_map, x, f"maps of {name}")
            mean, peak = float(values.mean()), float(values.max(axis=(1, 2)).mean())
            metrics |= {f"map/{name}/mean": mean, f"map/{name}/peak": peak}
            rows.append([name, f"{len(values):,}", f"{mean:.2f}", f"{peak:.2f}"])
            found = pictures_of(study, name, order[: self.shown])
            pictures += [] if found is None else [found]  # never None after `check`
            shown.append(values[: self.shown])
        limits = choose_limits(maps["test"], shown)
        figure = plot_anomaly_maps(
            pictures,
            shown,
            [f"{name}\n{'typical' if name == 'test' else 'least likely'}" for name in maps],
            limits,
            UNIT,
        )
        beyond = sum(int((values > limits[1]).sum()) for values in shown)
        positions = " x ".join(map(str, maps["test"].shape[1:]))
        caption = (
            f"Images, each with its map of {positions} positions over it. Test: the {self.shown} "
            f"images nearest to the median log p; outliers: the {self.shown} of each set with the "
            "lowest log p. One colour scale, from the 1% quantile of test to the 99.5% quantile of "
            f"the maps shown ({beyond} positions are above it)."
        )
        text = (
            "A map has the contribution of each position to -log p, in nats; its sum is -log p of "
            "the image. Places that the flow finds improbable have large values. The table is on "
            f"at most {MEASURED} images of each set, chosen as for the figure: the mean over all "
            "positions, and the mean over images of the largest value. innflow-score maps=DIR "
            "writes the maps of new images."
        )
        columns = ["set", "items", "mean", "mean of the peaks"]
        table = Table("Contribution of a position to -log p, nats", columns, rows)
        figures = {"anomaly_maps": Plot(figure, caption)}
        return Findings("Anomaly maps", text, metrics, figures, [table])

    @staticmethod
    def _order(study: Study, name: str) -> np.ndarray:
        """Return inliers in the order of the distance from their median, outliers by log p."""
        log_prob = study.measure(name).log_prob
        if name == "test":
            log_prob = np.abs(log_prob - np.median(log_prob))
        return np.argsort(log_prob, kind="stable")
