"""Posteriors corrected by importance sampling, with the flow as the proposal."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from innflow.app.posterior.trials import MAX_ORDERS
from innflow.errors import InnflowError
from innflow.metric.importance import FEWEST, Importance, compute_importance
from innflow.problem.sampler.importance import systematic

if TYPE_CHECKING:
    from innflow.app.posterior.inverse import Inverse

ROWS = 10_000
"""Proposals of which densities are computed at a time."""
OVERSAMPLING = 4
"""Default number of proposals for each draw."""


class Correction(NamedTuple):
    """A corrected posterior at one observation.

    Attributes:
        x: (n, P) draws of equal weight, resampled from the proposals with replacement.
        log_prob: (n,) corrected log p(x | y) of these draws, float64 in nats.
        proposals: (K, P) draws of the flow.
        importance: their weights, effective sample size, Pareto k and log evidence.
        distinct: number of different proposals among `x`.
    """

    x: Tensor
    log_prob: Tensor
    proposals: Tensor
    importance: Importance
    distinct: int


def check_proposal(app: "Inverse") -> None:
    """Raise InnflowError if the density of the flow's draws is not known exactly."""
    if set(app.partition.left) != {"x"}:
        raise InnflowError(
            f"correct: the density of x alone has no closed form with {app.partition}: train with "
            "partition=given_y"
        )
    if math.factorial(app.trials) > MAX_ORDERS:
        raise InnflowError(
            f"correct: with app.trials={app.trials} the density is averaged over some orders of "
            "the trials only; at most 4 trials have an exact one"
        )
    if bool(app.x_units.discrete.any()):
        names = app.feature_names("x", app.shape[0])
        column = int(app.x_units.discrete.int().argmax())
        raise InnflowError(f"correct: {names[column]} is an integer, which has no density")


def correct_posterior(
    app: "Inverse",
    y: Any,
    log_joint: Callable[[Tensor], Tensor],
    n: int = 1000,
    proposals: int | None = None,
    seed: int | None = None,
) -> Correction:
    """Correct the posterior at one observation by importance sampling.

    Args:
        app: a trained application; its draws are the proposals.
        y: observed data (M,) in data units.
        log_joint: function of parameters (B, P) in data units that returns log p(x) +
            log p(y | x), (B,) in nats; -inf outside the prior's support.
        n: number of resampled draws.
        proposals: number of proposals; 4 n where None.
        seed: of the proposals and of the resampling.

    Raises:
        InnflowError: if the density of the flow is not known exactly (padding, noise on the left,
            integers), no proposal has a positive weight, or y or a number is not valid.
    """
    check_proposal(app)
    count = max(OVERSAMPLING * n, FEWEST) if proposals is None else proposals
    if count < max(n, FEWEST):
        raise InnflowError(f"correct: proposals={count}: must be at least n={n} and {FEWEST}")
    data = torch.as_tensor(y)
    if data.ndim != 1:
        raise InnflowError(f"correct: y has shape {tuple(data.shape)}, expected one observation")
    drawn = app.posterior(data, count, seed)
    target = torch.cat([_checked(log_joint, rows) for rows in drawn.split(ROWS)])
    flow = [app.log_prob(rows, data.expand(len(rows), -1)) for rows in drawn.split(ROWS)]
    found = compute_importance((target - torch.cat(flow).double().cpu()).numpy())
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(systematic(found.weights, n, rng))
    log_prob = target[rows] - found.log_evidence
    return Correction(drawn[rows.to(drawn.device)], log_prob, drawn, found, len(rows.unique()))


def _checked(log_joint: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return log_joint of parameters x (B, P) as float64 on the CPU, NaN as -inf."""
    found = torch.as_tensor(log_joint(x)).detach().cpu().double()
    if found.shape != (len(x),):
        raise InnflowError(
            f"correct: log_joint returns the shape {tuple(found.shape)}, expected ({len(x)},)"
        )
    return found.nan_to_num(nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf)
