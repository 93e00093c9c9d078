"""C2ST of posteriors to reference draws of the sbi benchmark, before and after the correction.

    python experiments/simulator/correction.py RUN FOLDER [PROPOSALS]

RUN is a run folder on a problem with a likelihood. FOLDER has a subfolder for each observation of
the same task, with observation.csv and reference_posterior_samples.csv.bz2, as in the benchmark.
The rows that are printed go into README.md.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import innflow
from innflow.analysis.posterior.resimulation import build_problem
from innflow.app import Inverse, correct_posterior
from innflow.metric import compute_c2st

DRAWS = 5_000


def main(run: str, folder: str, proposals: int = 200_000) -> None:
    """Print a row for each observation."""
    app = innflow.load(run)
    assert isinstance(app, Inverse)
    data = build_problem(app, trust=False, run=run)
    print("observation, C2ST before, after, floor, efficiency, Pareto k, log evidence, error")  # noqa: T201
    for place in sorted(Path(folder).iterdir()):
        y = torch.from_numpy(np.loadtxt(place / "observation.csv", delimiter=",", skiprows=1))
        reference = np.loadtxt(
            place / "reference_posterior_samples.csv.bz2", delimiter=",", skiprows=1
        )
        exact, again = reference[:DRAWS], reference[DRAWS:][:DRAWS]
        flow = app.posterior(y.float(), DRAWS, seed=0).numpy()
        found = correct_posterior(app, y.float(), data.log_joint(y), DRAWS, proposals, seed=0)
        clouds = (flow, found.x.numpy(), again)
        scores = [f"{compute_c2st(cloud, exact):.3f}" for cloud in clouds]
        weights = found.importance
        numbers = (weights.efficiency, weights.pareto_k, weights.log_evidence)
        scores += [f"{number:.3f}" for number in numbers] + [f"{weights.log_evidence_error:.4f}"]
        print(", ".join([place.name, *scores]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
