"""What analyses of a posterior share: draws of it, the density, and data of drawn parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.study import InverseApplication, Study
from innflow.errors import InnflowError
from innflow.system.progress import track

# Rows that go through the application in one call.
ROWS = 20_000


def has_density(app: InverseApplication) -> bool:
    """Return whether p(x | y) can be evaluated: not where noise or padding lie beside x."""
    return set(app.partition.left) == {"x"}


def draw_posterior(study: Study, y: Tensor, n: int, stream: Sequence[int]) -> np.ndarray:
    """Draw from p(x | y) at observations (N, M), (N, n, P) float32; streams are independent."""
    app = study.require_posterior("posterior")
    return app.posterior(y, n, make_seed(study, stream)).cpu().float().numpy()


def make_seed(study: Study, stream: Sequence[int]) -> int:
    """Return a seed for one of the independent streams of random numbers of a study."""
    return int(np.random.SeedSequence([study.seed, *stream]).generate_state(1)[0])


def log_posterior(study: Study, x: Tensor, y: Tensor) -> np.ndarray:
    """Return log p(x | y), (B,) float64 in nats, for pairs of rows.

    Raises:
        InnflowError: where a value is not finite.
    """
    app = study.require_posterior("posterior")
    starts = range(0, len(x), ROWS)
    values = torch.cat(
        [
            app.log_prob(x[start : start + ROWS], y[start : start + ROWS]).detach().cpu()
            for start in track(starts, "posterior density")
        ]
    )
    bad = int((~values.isfinite()).sum())
    if bad:
        raise InnflowError(f"log p(x | y) is not finite for {bad} of {len(values)} pairs")
    return values.double().numpy()


def widen(study: Study, y: Tensor) -> Tensor:
    """Return data y (N, M) with fresh noise of the width that training gives them.

    Where a simulator has no noise of its own, the flow's posterior is that of y with a small
    width: a truth that matches its y exactly is no draw of it, one that matches a widened y is.
    """
    app = study.require_posterior("posterior")
    if app.width == 0:
        return y
    generator = torch.Generator().manual_seed(study.seed)
    noise = torch.randn(y.shape, generator=generator)
    return y + app.width * noise / unit_slope(app, y)


def unit_slope(app: InverseApplication, y: Tensor) -> Tensor:
    """Return the slope (N, M) of the map of y (N, M) to the flow's unit."""
    given = y.detach().to(app.device).requires_grad_()
    (slope,) = torch.autograd.grad(app.y_units(given).sum(), given)
    return slope.cpu()


def is_stochastic(study: Study) -> bool:
    """Return whether the forward model has noise of its own, and none is declared."""
    return study.data.noise is None and not study.data.deterministic


def resimulate(study: Study, clouds: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Return the data (n, M) of each cloud of parameters (n, P), without noise that is declared.

    Args:
        study: with data that have a forward model.
        clouds: by position in test, in data units.
    """
    data: Any = study.data
    if clouds and is_stochastic(study):
        # In one call, so that processes start once; its noise repeats by the seed.
        rows = data.simulate(torch.from_numpy(np.concatenate(list(clouds.values()))), study.seed)
        ends = np.cumsum([len(cloud) for cloud in clouds.values()])
        return dict(zip(clouds, np.split(rows.numpy(), ends[:-1]), strict=True))
    shown = track(clouds.items(), "resimulation", len(clouds))
    return {position: data.forward(torch.from_numpy(cloud)).numpy() for position, cloud in shown}
