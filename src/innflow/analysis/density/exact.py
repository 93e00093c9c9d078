"""A flow beside a density that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from innflow.analysis.density.density2d import bounds, grid, grid_log_prob
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Study, in_batches
from innflow.errors import InnflowError
from innflow.figure.plane import plot_densities, plot_pointwise
from innflow.metric import kl_divergence


@dataclass
class Exact:
    """Compares log densities point by point on test, where the data know their own.

    Attributes:
        resolution: cells along each axis of the pictures of both densities.
    """

    resolution: int = 300

    def check(self, study: Study) -> None:
        """Refuse data whose density is not known."""
        if getattr(study.data, "log_prob", None) is None:
            raise InnflowError(
                "analysis exact: the data have no exact log_prob: leave it out of the analysis "
                "group, or choose data=mixture"
            )

    def __call__(self, study: Study) -> Findings:
        """Return KL(p || q) in nats as `test/kl`, with its standard error `test/kl_se`."""
        self.check(study)
        exact = study.data.log_prob
        test = study.measure("test")
        log_p = in_batches(exact, test.data, "exact log p").astype(np.float64)
        log_q = test.log_prob.astype(np.float64)
        kl, error = kl_divergence(log_p, log_q)
        gap = np.abs(log_p - log_q)
        correlation = float(np.corrcoef(log_p, log_q)[0, 1])
        text = (
            f"KL(p || q) from the exact density p to the flow q, over {len(test):,} held-out draws "
            f"of p: {kl:.5f} nats, standard error {error:.5f}. Point by point the log densities "
            f"differ by {np.median(gap):.4f} in the median and {gap.max():.3f} at most; their "
            f"correlation is {correlation:.5f}. The mean exact negative log likelihood is "
            f"{-log_p.mean():.4f} nats, that of the flow {-log_q.mean():.4f}."
        )
        figures = {
            "pointwise": Plot(
                plot_pointwise(log_p, log_q),
                f"The exact log density against the flow's at {len(test):,} held-out points.",
            )
        }
        if tuple(study.app.shape) == (2,):
            extent = bounds(test.data)
            points = grid(extent, self.resolution)
            values = in_batches(exact, points, "exact density on a grid", 4096)
            truth = np.exp(values.astype(np.float64)).reshape(self.resolution, self.resolution)
            flow = np.exp(grid_log_prob(study, extent, self.resolution))
            figures["densities"] = Plot(
                plot_densities([("exact density", truth), ("flow density", flow)], extent),
                "Both densities on one scale; contours hold 25, 68 and 95% of the mass.",
            )
        return Findings("Exact density", text, {"test/kl": kl, "test/kl_se": error}, figures)
