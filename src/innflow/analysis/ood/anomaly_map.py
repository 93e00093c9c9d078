"""Anomaly maps: the squared latent at each position of a flow on maps of features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study
from innflow.config.bounds import Positive
from innflow.data.feature.embeddings import Embeddings
from innflow.errors import InnflowError
from innflow.figure.ood.heat_overlay import plot_anomaly_maps


@dataclass
class AnomalyMap(Analysis):
    """Draw half the sum of squares of z over the channels at each position, on top of the image.

    For flows that keep the shape of the maps, such as `innflow.flow.maps`. It is the negative
    contribution of a position to log N(z; 0, I), in nats, without the constant. Its expectation for
    training inliers is C / 2 for C channels, and less without the noise of training. The
    log-determinant is not assigned to positions and is not included.

        >>> AnomalyMap(shown=2)
        AnomalyMap(shown=2)

    Attributes:
        shown: number of images of each set.
    """

    shown: Positive = 4

    def check(self, study: Study) -> None:
        """Raise InnflowError for data that are not feature maps of images."""
        if len(study.app.shape) != 3 or not isinstance(study.data, Embeddings):
            raise InnflowError(
                f"analysis anomaly_map: needs maps of features, the data have shape "
                f"{tuple(study.app.shape)}: choose data=embeddings data.spatial=true "
                "data.layer=NAME model=maps, or leave it out with analysis.anomaly_map=null"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `map/SET/mean` and `map/SET/peak`, averages over a set, with the figure."""
        self.check(study)
        data = cast(Embeddings, study.data)
        channels, height, width = study.app.shape
        maps = {
            name: compute_maps(study.measure(name).latent, study.app.shape)
            for name in ("test", *study.outliers)
        }
        metrics: dict[str, float] = {}
        rows = []
        for name, values in maps.items():
            mean, peak = float(values.mean()), float(values.max(axis=(1, 2)).mean())
            metrics |= {f"map/{name}/mean": mean, f"map/{name}/peak": peak}
            rows.append([name, f"{len(values):,}", f"{mean:.1f}", f"{peak:.1f}"])
        chosen = {name: self._choose(study, name) for name in maps}
        shown = [maps[name][index] for name, index in chosen.items()]
        limits = _limits(maps["test"], shown)
        figure = plot_anomaly_maps(
            [data.picture(name, study.index(name)[index]) for name, index in chosen.items()],
            shown,
            [f"{name}\n{'typical' if name == 'test' else 'least likely'}" for name in chosen],
            limits,
            "½ Σ z² over channels (nats)",
        )
        beyond = sum(int((values > limits[1]).sum()) for values in shown)
        caption = (
            f"Images, each with half the sum of squares of z over the {channels} channels at its "
            f"{height} x {width} positions, interpolated. Test: the {self.shown} images nearest to "
            f"the median log p; outliers: the {self.shown} of each set with the lowest log p. One "
            "colour scale, from the 1% quantile of test to the 99% quantile of the maps shown "
            f"({beyond} positions are above it)."
        )
        text = (
            "Half the sum of squares of z at a position of the test set is "
            f"{metrics['map/test/mean']:.1f} "
            f"nats on average; its expectation for training inliers is {channels / 2:g}, and less "
            "without the noise of training. The table has the mean over all positions, and the "
            "mean over items of the largest value."
        )
        columns = ["set", "items", "mean", "mean of the peaks"]
        table = Table("Half the sum of squares of z at a position, nats", columns, rows)
        figures = {"anomaly_maps": Plot(figure, caption)}
        return Findings("Anomaly maps", text, metrics, figures, [table])

    def _choose(self, study: Study, name: str) -> np.ndarray:
        """Return the indices of the inliers nearest to their median, or of the least likely."""
        log_prob = study.measure(name).log_prob
        if name == "test":
            log_prob = np.abs(log_prob - np.median(log_prob))
        return np.argsort(log_prob, kind="stable")[: self.shown]


def compute_maps(latent: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return half the sum of squares over channels, (N, H, W), of latents (N, C * H * W).

    Args:
        latent: flattened in the order (C, H, W).
        shape: (C, H, W).
    """
    squares = np.square(latent.reshape(len(latent), *shape))
    return 0.5 * squares.sum(axis=1, dtype=np.float64)


def _limits(inliers: np.ndarray, shown: list[np.ndarray]) -> tuple[float, float]:
    low = float(np.quantile(inliers, 0.01))
    high = float(np.quantile(np.concatenate([values.ravel() for values in shown]), 0.99))
    return low, max(high, low + 1e-6)
