"""Resimulation: the data that the forward model gives for posterior draws."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.data import build_data, trusted_data
from innflow.app import Inverse
from innflow.config.trust import foreign_code
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.simulation.seeding import seeded
from innflow.errors import InnflowError
from innflow.system.progress import announce, track

RESIMULATED, ROWS = 10_000, 1_000
"""Number of draws, over all observations, for the forward model, and rows of one call."""


class Resimulation(NamedTuple):
    """Data of posterior draws at one observation.

    Attributes:
        y: (k, M) finite rows.
        error: mean of |f(x) - y|^2 over what is not missing in y; NaN if no row is finite.
        rms: (M,) root mean square of f(x) - y.
        left_out: number of rows that are not finite and therefore left out.
    """

    y: np.ndarray
    error: float
    rms: np.ndarray
    left_out: int


def resimulate(
    data: InverseData, draws: Sequence[Tensor], y: np.ndarray, seed: int
) -> list[Resimulation]:
    """Return the data of the draws for each observation, without declared noise.

    Args:
        data: with a forward model.
        draws: parameters (n, P) for each of B observations.
        y: (B, M) the observations.
        seed: of the noise that the forward model itself adds.

    Raises:
        InnflowError: if the forward model fails.
    """
    if not len(draws):
        return []
    rows = torch.cat(list(draws))
    if data.noise is None or data.forward is None:
        made = data.simulate(rows, seed)
    else:
        with seeded([seed]):
            blocks = track(rows.split(ROWS), "resimulation")
            made = torch.cat([data.forward(block) for block in blocks])
    pieces = made.split([len(some) for some in draws])
    return [_compare(piece.numpy(), one) for piece, one in zip(pieces, y, strict=True)]


def resimulate_or_announce(
    data: InverseData, x: Tensor, y: np.ndarray, seed: int
) -> list[Resimulation]:
    """Resimulate the first 10,000 / B draws at each observation; print a line for failures.

    Args:
        data: from `build_forward_model`.
        x: draws (B, n, P).
        y: (B, M) the observations.
        seed: as for `resimulate`.

    Returns:
        One item for each observation; an empty list if the forward model fails.
    """
    each = min(x.shape[1], max(RESIMULATED // len(x), 1))
    try:
        found = resimulate(data, list(x[:, :each]), y, seed)
        for number, one in enumerate(found):
            if not len(one.y):
                raise InnflowError(f"observation {number}: no draw gives finite data")
            if one.left_out:
                announce(
                    f"observation {number}: {one.left_out:,} of {each:,} resimulations are not "
                    "finite (NaN or infinite) and are left out"
                )
    except InnflowError as error:
        announce(f"resimulation left out: {error}")
        return []
    return found


def build_forward_model(app: Inverse, trust: bool, run: str) -> InverseData | None:
    """Return the data module of a run, or None, with a printed line, if it cannot resimulate."""
    config = app.config["data"]
    if config.get("forward") is None and config.get("command") is None:
        return None
    if not trust and (code := foreign_code(config)) is not None:
        announce(f"resimulation left out: {code} is code; trust=true runs it")
        return None
    config = trusted_data(config, app, run, trust)
    try:
        return _build(config, app)
    except InnflowError as error:
        announce(f"resimulation left out: {error}")
        return None


def build_problem(app: Inverse, trust: bool, run: str) -> InverseData:
    """Return the data module of a run.

    Args:
        app: the trained application.
        trust: also import code that is not of `innflow.problem`.
        run: folder or file of the run.

    Raises:
        InnflowError: if it names code that is not trusted, or has changed since the training.
    """
    config = app.config["data"]
    if not trust and (code := foreign_code(config)) is not None:
        raise InnflowError(f"run={run}: {code} is code; trust=true runs it")
    return _build(trusted_data(config, app, run, trust), app)


def _build(config: Mapping[str, Any], app: Inverse) -> InverseData:
    data = build_data(config)
    if not isinstance(data, InverseData):
        raise InnflowError("its data have no forward model")
    shapes = {name: list(shape) for name, shape in data.shapes.items()}
    if shapes != app.shapes:
        raise InnflowError(f"the run was trained on {app.shapes}, its model now has {shapes}")
    return data


def _compare(made: np.ndarray, y: np.ndarray) -> Resimulation:
    good = made[np.isfinite(made).all(axis=1)]
    if not len(good):
        return Resimulation(good, float("nan"), np.full(len(y), np.nan), len(made))
    rms = np.sqrt(np.square(good.astype(np.float64) - y).mean(axis=0))
    return Resimulation(good, float(np.nansum(np.square(rms))), rms, len(made) - len(good))
