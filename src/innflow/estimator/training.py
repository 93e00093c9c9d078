"""Training of flows on arrays in memory, for the estimators.

Fits of a few hundred rows take seconds and run within joblib's processes, where Lightning's
trainer, its loggers and folders would cost more than the training.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innflow.flow import CouplingFlow
from innflow.flow.builder.vector import CouplingName, vector
from innflow.system.progress import announce

CHECKS = 30
"""Number of evaluations on validation rows in a training of full length."""
ROWS = 4096
"""Rows that pass a flow at a time."""
_WARMUP, _CLIP, _LARGEST_VALIDATION = 50, 5.0, 5000


@dataclass(frozen=True)
class Settings:
    """Architecture and training of the flow of an estimator.

    Attributes:
        depth: number of couplings.
        hidden: width of both layers of a coupling network.
        coupling: "affine" or "spline".
        max_steps: largest number of steps of Adam.
        batch_size: rows of a step.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        patience: evaluations without improvement after which the training ends.
        validation: fraction of the rows that choose the weights.
    """

    depth: int
    hidden: int
    coupling: CouplingName
    max_steps: int
    batch_size: int
    learning_rate: float
    patience: int
    validation: float


def fit_flow(
    x: np.ndarray,
    settings: Settings,
    noise: float | np.ndarray,
    seed: int,
    context: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    verbose: bool = False,
) -> CouplingFlow:
    """Return a flow in double precision, fitted by maximum likelihood, of rows x (N, D).

    The weights are an exponential average, taken where the likelihood of the validation rows is
    largest. torch's global random numbers are left alone.

    Args:
        x: rows in units of the order of 1.
        settings: of flow and training.
        noise: standard deviation of normal noise added to x, a number or one per column.
        seed: of initial weights, split, batches and noise.
        context: (N, C), what the flow is conditioned on.
        weight: (N,) positive weights of the rows in the likelihood.
        verbose: print the progress.

    Raises:
        ValueError: if the loss is not finite.
    """
    rows = torch.as_tensor(x, dtype=torch.float32)
    context = _given(x, context)
    given = None if context is None else torch.as_tensor(context, dtype=torch.float32)
    weights = torch.ones(len(rows)) if weight is None else torch.as_tensor(weight).float()
    sd = torch.as_tensor(noise, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    train, val = _split(len(rows), settings.validation, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = vector(
            rows.shape[1],
            depth=settings.depth,
            hidden=(settings.hidden, settings.hidden),
            coupling=settings.coupling,
            context=0 if given is None else given.shape[1],
        )

    def noisy(index: Tensor) -> Tensor:
        chosen = rows[index]
        return chosen + sd * torch.randn(chosen.shape, generator=generator)

    def loss_of(model: CouplingFlow, index: Tensor, noised: Tensor) -> Tensor:
        nll = -model.log_prob(noised, None if given is None else given[index])
        return (weights[index] * nll).sum() / weights[index].sum()

    first = train[: min(len(train), ROWS)]
    flow.initialise(noisy(first), None if given is None else given[first])
    average = copy.deepcopy(flow)
    optimizer = torch.optim.Adam(flow.parameters(), lr=settings.learning_rate)
    held_out = noisy(val)
    best, best_loss, since = copy.deepcopy(average.state_dict()), math.inf, 0
    every = max(1, min(50, settings.max_steps // CHECKS))
    for step in range(settings.max_steps):
        falling = 0.5 * (1 + math.cos(math.pi * step / settings.max_steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * falling * min(1.0, (step + 1) / _WARMUP)
        index = train[torch.randint(len(train), (settings.batch_size,), generator=generator)]
        loss = loss_of(flow, index, noisy(index))
        if not torch.isfinite(loss):
            raise ValueError(
                f"fit: the loss is not finite at step {step}: lower "
                f"learning_rate={settings.learning_rate}"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), _CLIP)
        optimizer.step()
        with torch.no_grad():
            kept = min(0.99, (step + 1) / (step + 10))
            for ours, theirs in zip(average.parameters(), flow.parameters(), strict=True):
                ours.lerp_(theirs, 1 - kept)
        if (step + 1) % every == 0:
            with torch.no_grad():
                current = float(loss_of(average, val, held_out))
            if verbose:
                announce(f"step {step + 1} of {settings.max_steps}  loss {current:.4f} nats")
            since = 0 if current < best_loss else since + 1
            if since == 0:
                best, best_loss = copy.deepcopy(average.state_dict()), current
            elif since == settings.patience:
                break
    if not math.isfinite(best_loss):
        raise ValueError("fit: the likelihood of the validation rows was never finite")
    average.load_state_dict(best)
    return average.double().eval().requires_grad_(False)


def log_prob(flow: CouplingFlow, x: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
    """Return log p(x | context), (N,) in nats, of rows (N, D) in the units of the flow."""
    with torch.no_grad():
        pieces = [flow.log_prob(*piece) for piece in _pieces(x, context)]
    return torch.cat(pieces).numpy()


def encode(flow: CouplingFlow, x: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
    """Return the latents (N, D) of rows (N, D) in the units of the flow."""
    with torch.no_grad():
        return torch.cat([flow(*piece)[0] for piece in _pieces(x, context)]).numpy()


def draw(
    flow: CouplingFlow, n: int, seed: np.random.RandomState, context: np.ndarray | None = None
) -> np.ndarray:
    """Return n draws (n, D) in the units of the flow; a context has n rows."""
    z = seed.standard_normal((n, flow.features))
    with torch.no_grad():
        return torch.cat([flow.inverse(*piece)[0] for piece in _pieces(z, context)]).numpy()


def _pieces(x: np.ndarray, context: np.ndarray | None) -> list[tuple[Tensor, Tensor | None]]:
    context = _given(x, context)
    rows = torch.as_tensor(x, dtype=torch.float64).split(ROWS)
    if context is None:
        return [(piece, None) for piece in rows]
    return list(zip(rows, torch.as_tensor(context, dtype=torch.float64).split(ROWS), strict=True))


def _given(x: np.ndarray, context: np.ndarray | None) -> np.ndarray | None:
    """Return the context; a constant for a single column, as a coupling has to read something."""
    return np.zeros((len(x), 1)) if context is None and x.shape[1] == 1 else context


def _split(n: int, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows to train on and to validate on; all rows for both where there are few."""
    order = torch.randperm(n, generator=generator)
    held = min(int(fraction * n), _LARGEST_VALIDATION)
    return (order[held:], order[:held]) if held >= 2 else (order, order)
