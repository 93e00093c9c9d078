"""A density in the plane: its map, values and samples, and its integral."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.errors import InnflowError
from innflow.figure.plane import plot_deformed_grid, plot_densities, plot_maps
from innflow.metric import mmd


@dataclass
class Density2d(Analysis):
    """Draw a flow of two dimensions, integrate its density and compare its samples with data.

        >>> Density2d(samples=500).resolution
        400

    Attributes:
        samples: number of draws from the flow, and largest number of data points compared.
        resolution: cells of the grid along each axis.
        lines: number of lines of the deformed grid in each direction, from -3 to 3.
    """

    samples: int = 2000
    resolution: int = 400
    lines: int = 13

    def check(self, study: Study) -> None:
        """Raise InnflowError for data that do not have two dimensions."""
        if tuple(study.app.shape) != (2,):
            raise InnflowError(
                f"analysis density2d: needs data of shape (2,), these have "
                f"{tuple(study.app.shape)}: leave it out with analysis.density2d=null"
            )

    def __call__(self, study: Study) -> Findings:
        """Return `test/integral` and `test/mmd` with the figures of the plane."""
        self.check(study)
        train, test = study.measure("train"), study.measure("test")
        limit, resolution = study.count(self.samples, 200), study.count(self.resolution, 60)
        drawn = study.sample(limit).astype(np.float64)
        extent = bounds(train.data, test.data, drawn)
        density = np.exp(grid_log_prob(study, extent, resolution))
        integral = float(density.sum() * cell(extent, resolution))
        discrepancy = mmd(drawn, test.data[:limit])
        floor = mmd(train.data[:limit], test.data[:limit])
        latent = np.random.default_rng(study.seed).standard_normal((limit, 2))
        decoded = study.decode(latent)
        straight = _grid_lines(self.lines)
        curved = study.decode(straight.reshape(-1, 2), "grid lines").reshape(straight.shape)
        shown = test.data[:limit]
        figures = {
            "maps": Plot(
                plot_maps(shown, test.latent[:limit], latent, decoded),
                "Above, test data and their latent vectors; below, draws of the standard normal "
                "and their images under the inverse map. Colour is the direction of a point in "
                "latent space; circles have radius 1, 2, 3.",
            ),
            "density": Plot(
                plot_densities([("flow density", density)], extent, shown),
                "Density of the flow; contours hold 25, 68 and 95% of its mass.",
            ),
            "grid": Plot(
                plot_deformed_grid(straight, curved, shown),
                "Lines of the latent plane from -3 to 3, and their images under the inverse map "
                "over test data in grey.",
            ),
        }
        text = (
            f"Integral of the density over {resolution} x {resolution} cells on [{extent[0]:.2f}, "
            f"{extent[1]:.2f}] x [{extent[2]:.2f}, {extent[3]:.2f}]: {integral:.4f}. Squared "
            f"maximum mean discrepancy between {len(drawn):,} samples and "
            f"{len(test.data[:limit]):,} test points: {discrepancy:.2e} (unbiased, so it may be "
            f"negative); between training and test points: {floor:.2e}."
        )
        metrics = {"test/integral": integral, "test/mmd": discrepancy}
        return Findings("Density in the plane", text, metrics, figures)


def bounds(*clouds: np.ndarray) -> tuple[float, float, float, float]:
    """Return x low, x high, y low, y high of all points, extended by a quarter on each side."""
    points = np.concatenate(clouds)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.25 * (high - low)
    (left, bottom), (right, top) = low - margin, high + margin
    return float(left), float(right), float(bottom), float(top)


def grid(extent: tuple[float, float, float, float], resolution: int) -> np.ndarray:
    """Return the centres of the cells of a grid as float32, (resolution ** 2, 2), by rows of y."""
    left, right, bottom, top = extent
    middle = (np.arange(resolution) + 0.5) / resolution
    x, y = np.meshgrid(left + middle * (right - left), bottom + middle * (top - bottom))
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def cell(extent: tuple[float, float, float, float], resolution: int) -> float:
    """Return the area of one cell of a grid."""
    left, right, bottom, top = extent
    return (right - left) * (top - bottom) / resolution**2


def grid_log_prob(
    study: Study, extent: tuple[float, float, float, float], resolution: int
) -> np.ndarray:
    """Return the log density of the flow at the centres of a grid, (resolution, resolution)."""
    values = in_batches(study.density.log_prob, grid(extent, resolution), "density on a grid", 4096)
    return values.astype(np.float64).reshape(resolution, resolution)


def _grid_lines(count: int, points: int = 300) -> np.ndarray:
    """Return straight lines in both directions, (2 * count, points, 2)."""
    along = np.linspace(-3, 3, points)
    across = np.linspace(-3, 3, count)
    upright = np.stack(np.broadcast_arrays(across[:, None], along[None]), axis=-1)
    return np.concatenate([upright, upright[..., ::-1]])
