"""The forward model of a trained run, and what it makes of posterior draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innflow.app import Inverse
from innflow.config.build import build
from innflow.config.trust import check_trusted, foreign_code
from innflow.data.simulation.seeding import seeded
from innflow.data.simulation.simulator import Simulator
from innflow.errors import InnflowError
from innflow.metric import compute_resimulation
from innflow.system.progress import announce, track

RESIMULATED, ROWS = 10_000, 1_000
"""Draws over all observations that go through the forward model, and how many at a time."""


class Resimulation(NamedTuple):
    """Data of posterior draws at one observation.

    Attributes:
        y: (k, M), rows that are not finite left out.
        error: mean of |f(x) - y|^2.
        rms: (M,) root mean square of f(x) - y.
        left_out: how many rows are not finite.
    """

    y: np.ndarray
    error: float
    rms: np.ndarray
    left_out: int


def build_forward_model(app: Inverse, trust: bool, where: str) -> Simulator | None:
    """Return the data module of a run where it has a forward model that may run, or say why not.

    Args:
        app: the trained application.
        trust: also import code that is not of `innflow.problem`.
        where: the run, for messages.
    """
    config = app.config["data"]
    if config.get("forward") is None:
        return None
    if not trust:
        code = foreign_code(config)
        if code is not None:
            announce(f"resimulation left out: {code} is code; trust=true runs it")
            return None
        check_trusted({"data": config}, where, data=True)
    try:
        data: Simulator = build(config, "data")
        shapes = {name: list(shape) for name, shape in data.shapes.items()}
        if shapes != app.shapes:
            raise InnflowError(f"the run was trained on {app.shapes}, its model now has {shapes}")
    except InnflowError as error:
        announce(f"resimulation left out: {error}")
        return None
    return data


def resimulate(data: Simulator, x: Tensor, y: np.ndarray, seed: int) -> list[Resimulation]:
    """Send draws through the forward model, without noise where it is declared; or say why not.

    Args:
        data: from `build_forward_model`.
        x: draws (B, n, P); the first 10,000 / B of each observation are used.
        y: (B, M) the observations.
        seed: of the forward model's own noise.

    Returns:
        One for each observation; none at all where the forward model fails.
    """
    each = min(x.shape[1], max(RESIMULATED // len(x), 1))
    rows = x[:, :each].flatten(0, 1)
    try:
        if data.noise is None:
            made = data.simulate(rows, seed)
        else:
            with seeded([seed]):
                blocks = track(rows.split(ROWS), "resimulate")
                made = torch.cat([data.forward(block) for block in blocks])
        given = made.reshape(len(x), each, -1).numpy()
        return [_compare(number, *pair) for number, pair in enumerate(zip(given, y, strict=True))]
    except InnflowError as error:
        announce(f"resimulation left out: {error}")
        return []


def _compare(number: int, made: np.ndarray, y: np.ndarray) -> Resimulation:
    good = made[np.isfinite(made).all(axis=1)]
    left_out = len(made) - len(good)
    if not len(good):
        raise InnflowError(f"observation {number}: no draw gives finite data")
    if left_out:
        announce(
            f"observation {number}: {left_out:,} of {len(made):,} resimulations are not finite (NaN"
            " or infinite) and are left out"
        )
    rms = np.sqrt(np.square(good.astype(np.float64) - y).mean(axis=0))
    return Resimulation(good, compute_resimulation(good, y), rms, left_out)
