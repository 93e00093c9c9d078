"""Where an item is odd: the latent of a flow on maps of features, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Study, require_whole
from innflow.errors import InnflowError
from innflow.figure.ood.anomaly_map import plot_anomaly_maps


@dataclass
class AnomalyMap:
    """Draws half the sum of squares of z over channels at every position, over the picture.

    For flows that keep the shape of the maps, such as `innflow.flow.maps`. It is what a position
    takes from log N(z), in nats and without the constant. Of inliers as the flow saw them in
    training C / 2 is expected, C being the number of channels; without the noise of training it is
    less. The log-determinant has no position and is not in it.

    Attributes:
        shown: pictures of each set.
    """

    shown: int = 4

    def check(self, study: Study) -> None:
        """Refuse data that are not maps of features with their pictures beside."""
        require_whole("shown", self.shown, 1)
        if len(study.app.shape) != 3 or not hasattr(study.data, "picture"):
            raise InnflowError(
                f"analysis anomaly_map: needs maps of features, the data have shape "
                f"{tuple(study.app.shape)}: choose data=embeddings data.spatial=true "
                "data.layer=NAME model=maps, or leave it out of the analysis group"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `map/SET/mean` and `map/SET/peak`, averages over a set, with the figure."""
        self.check(study)
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
        limits = _limits(maps["test"], [maps[name][index] for name, index in chosen.items()])
        figure = plot_anomaly_maps(
            [study.data.picture(name, study.index(name)[index]) for name, index in chosen.items()],
            [maps[name][index] for name, index in chosen.items()],
            [f"{name}\n{'typical' if name == 'test' else 'strangest'}" for name in chosen],
            limits,
            "½ Σ z² over channels (nats)",
            [(metrics["map/test/mean"], "mean of test")],
        )
        beyond = sum(int((maps[name][index] > limits[1]).sum()) for name, index in chosen.items())
        caption = (
            f"Pictures, each with what its positions ({height} x {width}) take from log p: half "
            f"the sum of squares of z over the {channels} channels, interpolated. Val: the "
            f"{self.shown} nearest to its median log p; outliers: the {self.shown} of each set "
            "with the lowest log p. One scale of colours for all, from the 1% quantile of test to "
            f"the 99% quantile of what is shown ({beyond} positions lie beyond and have its last "
            f"colour); the mark is at the mean over all positions of test."
        )
        text = (
            f"Half the sum of squares of z at a position of test is {metrics['map/test/mean']:.1f} "
            f"nats on average; a right flow gives {channels / 2:g} to inliers as it saw them in "
            "training, and less to inliers without the noise of training. The table has the mean "
            "over all positions, and the mean over items of their highest one."
        )
        table = Table(
            "Half the sum of squares of z at a position, nats",
            ["set", "items", "mean", "mean of the peaks"],
            rows,
        )
        return Findings(
            "Anomaly maps", text, metrics, {"anomaly_maps": Plot(figure, caption)}, [table]
        )

    def _choose(self, study: Study, name: str) -> np.ndarray:
        """Return the positions of the inliers nearest to their median, or the least likely."""
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
