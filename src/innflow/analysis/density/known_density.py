"""Comparison of a flow with the exact density of its data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from innflow.analysis.density.density2d import bounds, grid, grid_log_prob
from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.errors import InnflowError
from innflow.figure.plane import plot_densities, plot_pointwise
from innflow.metric import kl_divergence


@dataclass
class Exact(Analysis):
    """Compare the log density of the flow with the exact one at every point of the test set.

        >>> Exact(resolution=100)
        Exact(resolution=100)

    Attributes:
        resolution: number of cells along each axis of the images of both densities.
    """

    resolution: int = 300

    def check(self, study: Study) -> None:
        """Raise InnflowError for data whose exact density is unknown."""
        _exact_density(study)

    def __call__(self, study: Study) -> Findings:
        """Return KL(p || q) in nats as `test/kl`, with its standard error `test/kl_se`."""
        exact = _exact_density(study)
        test = study.measure("test")
        log_p = in_batches(exact, test.data, "exact log p").astype(np.float64)
        log_q = test.log_prob.astype(np.float64)
        kl, error = kl_divergence(log_p, log_q)
        gap = np.abs(log_p - log_q)
        correlation = float(np.corrcoef(log_p, log_q)[0, 1])
        text = (
            f"KL(p || q) of the exact density p and the density q of the flow, over {len(test):,} "
            f"test draws of p: {kl:.5f} nats, standard error {error:.5f}. Absolute difference of "
            f"the log densities: median {np.median(gap):.4f}, maximum {gap.max():.3f} nats; "
            f"correlation {correlation:.5f}. Mean negative log likelihood of the exact density "
            f"{-log_p.mean():.4f} nats, of the flow {-log_q.mean():.4f}."
        )
        figures = {
            "pointwise": Plot(
                plot_pointwise(log_p, log_q),
                f"Exact log density against that of the flow at {len(test):,} test points.",
            )
        }
        if tuple(study.app.shape) == (2,):
            extent = bounds(test.data)
            resolution = study.count(self.resolution, 60)
            points = grid(extent, resolution)
            values = in_batches(exact, points, "exact density on a grid", 4096)
            truth = np.exp(values.astype(np.float64)).reshape(resolution, resolution)
            flow = np.exp(grid_log_prob(study, extent, resolution))
            figures["densities"] = Plot(
                plot_densities([("exact density", truth), ("flow density", flow)], extent),
                "Both densities on one colour scale; contours hold 25, 68 and 95% of the mass.",
            )
        return Findings("Exact density", text, {"test/kl": kl, "test/kl_se": error}, figures)


def _exact_density(study: Study) -> Callable[[Tensor], Tensor]:
    exact = study.data.log_prob
    if exact is None:
        raise InnflowError(
            "analysis exact: the data have no exact log_prob: choose data=mixture, or leave it "
            "out with analysis.exact=null"
        )
    return exact
