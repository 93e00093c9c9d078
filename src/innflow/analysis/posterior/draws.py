"""Posterior draws, posterior densities, and the width of the data in training."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.study import Study, in_batches
from innflow.app.posterior.inverse import Inverse
from innflow.data.simulation.inverse_data import InverseData
from innflow.errors import InnflowError

# Number of rows in one call of the application.
ROWS = 20_000


def require_posterior(study: Study, analysis: str) -> Inverse:
    """Return the application; raise InnflowError if it has no posterior."""
    return study.require(Inverse, analysis, "has no posterior: choose app=inverse")


def require_items(study: Study, analysis: str, least: int) -> None:
    """Raise InnflowError for a test set with too few items."""
    available = len(study.sets["test"])
    if available < least:
        raise InnflowError(
            f"analysis {analysis}: set test has {available} items, at least {least} are needed: "
            f"raise data.n_test, or leave it out with analysis.{analysis}=null"
        )


def problem_of(study: Study) -> InverseData:
    """Return the data module of an inverse problem."""
    return cast(InverseData, study.data)


def has_density(app: Inverse) -> bool:
    """Return whether p(x | y) can be evaluated, as without data noise on the left side."""
    return "eps" not in app.partition.left


def draw_posterior(study: Study, y: Tensor, n: int, stream: Sequence[int]) -> np.ndarray:
    """Draw from p(x | y) at observations (N, M), (N, n, P) float32; streams are independent."""
    app = require_posterior(study, "posterior")
    return app.posterior(y, n, make_seed(study, stream)).cpu().float().numpy()


def make_seed(study: Study, stream: Sequence[int]) -> int:
    """Return the seed of one of the independent streams of random numbers of a study."""
    return int(np.random.SeedSequence([study.seed, *stream]).generate_state(1)[0])


def log_posterior(study: Study, x: Tensor, y: Tensor) -> np.ndarray:
    """Return log p(x | y), (B,) float64 in nats, for pairs of rows.

    Raises:
        InnflowError: if a value is not finite.
    """
    app = require_posterior(study, "posterior")

    def log_prob(rows: Tensor) -> Tensor:
        return app.log_prob(x[rows], y[rows])

    values = in_batches(log_prob, np.arange(len(x)), "posterior density", ROWS)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InnflowError(f"log p(x | y) is not finite for {bad} of {len(values)} pairs")
    return values.astype(np.float64)


def widen(study: Study, y: Tensor) -> Tensor:
    """Add Gaussian noise with the standard deviation added to y in training to data y (N, M).

    For a simulator without noise, the flow is trained on data with a little added noise. Its
    posterior is calibrated for data with that noise, not for exact data.
    """
    app = require_posterior(study, "posterior")
    if app.width == 0:
        return y
    generator = torch.Generator().manual_seed(study.seed)
    noise = torch.randn(y.shape, generator=generator)
    return y + app.width * noise / unit_slope(app, y)


def unit_slope(app: Inverse, y: Tensor) -> Tensor:
    """Return the derivative (N, M) of the map of y (N, M) to the flow's units, by column."""
    given = y.detach().to(app.device).requires_grad_()
    (slope,) = torch.autograd.grad(app.y_units(given).sum(), given)
    return slope.cpu()
