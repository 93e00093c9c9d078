"""C2ST to the exact posterior by the number of trials, and by what is missing of the data.

    python experiments/simulator/observed.py trials RUN
    python experiments/simulator/observed.py missing RUN

RUN is a run folder on data=normal, or on data=gaussian_linear with data.missing. The parameters of
the observations are drawn from the prior. The rows that are printed go into README.md.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

import innflow
from innflow.app import Inverse
from innflow.metric import compute_c2st
from innflow.problem import gaussian_linear, normal

DRAWS, OBSERVATIONS, SEED = 2_000, 3, 1
TRIALS = (1, 3, 10, 30, 100)


def observe_trials(most: int) -> Iterator[tuple[str, Tensor, np.ndarray, np.ndarray]]:
    """Yield a name, the data with NaN, draws of the exact posterior, and other ones."""
    for count in TRIALS:
        for x in normal.prior.sample((OBSERVATIONS,)):
            y = torch.full((most, 1), torch.nan)
            y[:count] = normal.forward(x.expand(count, 2))
            given, rng = y[:count].numpy(), np.random.default_rng(SEED)
            exact, again = (normal.posterior(given, DRAWS, rng, None) for _ in range(2))
            yield f"{count} trials", y, exact, again


def observe_missing(columns: int) -> Iterator[tuple[str, Tensor, np.ndarray, np.ndarray]]:
    """Yield the same for data of which every value is missing with probability 1/2."""
    for x in gaussian_linear.prior.sample((OBSERVATIONS,)):
        y = gaussian_linear.forward(x[None])[0]
        y[torch.rand(columns) < 0.5] = torch.nan
        rng = np.random.default_rng(SEED)
        exact, again = (gaussian_linear.posterior(y.numpy(), DRAWS, rng, None) for _ in range(2))
        yield "".join("01"[int(there)] for there in y.isfinite()), y, exact, again


def main(kind: str, run: str) -> None:
    """Print a row for each observation, and the mean of those of one name."""
    app = innflow.load(run)
    assert isinstance(app, Inverse)
    torch.manual_seed(SEED)
    observe = {"trials": observe_trials, "missing": observe_missing}[kind]
    found: dict[str, list[list[float]]] = {}
    for name, y, exact, again in observe(app.y_shape[0]):
        drawn = app.posterior(y, DRAWS, seed=SEED).numpy()
        scores = [compute_c2st(cloud, exact, SEED) for cloud in (drawn, again)]
        found.setdefault(name if kind == "trials" else "all masks", []).append(scores)
        print(name, *(f"{score:.3f}" for score in scores), flush=True)  # noqa: T201
    for name, rows in found.items():
        c2st, floor = np.mean(rows, axis=0)
        print(f"{name}: mean C2ST {c2st:.3f}, floor {floor:.3f}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
