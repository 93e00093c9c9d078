"""Train the ten tasks of the sbi benchmark with the defaults and compare with its posteriors.

    python -m experiments.simulator.tasks BENCHMARK OUT [TASK ...] [key=value ...]

BENCHMARK is the folder of the benchmark: TASK/NUMBER/observation.csv and
reference_posterior_samples.csv.bz2, and the constants of two tasks. OUT gets a run folder of each
task with benchmark.json, and tasks.md, the table for README.md. What is there already is not done
again. The overrides are those of innflow-train, for instance seed=1.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import innflow
from innflow.app import Inverse
from innflow.metric import compute_c2st

DRAWS = 5_000
OWN, MORE = "innflow.problem", "experiments.simulator.benchmark"
# Module of prior and forward model; others have the name of the task, and `forward`.
MODULES = {
    "two_moons": f"{OWN}.two_moons",
    "gaussian_mixture": f"{MORE}.gaussian_mixture",
    "gaussian_linear": f"{OWN}.gaussian_linear",
    "gaussian_linear_uniform": f"{MORE}.gaussian_linear_uniform",
    "sir": f"{MORE}.sir",
    "bernoulli_glm": f"{MORE}.bernoulli_glm",
    "bernoulli_glm_raw": f"{MORE}.bernoulli_glm",
    "slcp": f"{OWN}.slcp",
    "slcp_distractors": f"{MORE}.slcp_distractors",
    "lotka_volterra": f"{MORE}.lotka_volterra",
}
# Tasks that share the folder of another task: folder and file of the observations.
SHARED = {
    "bernoulli_glm_raw": ("bernoulli_glm", "observation_raw.csv"),
    "slcp_distractors": ("slcp", "observation_distractors.csv"),
}
TRAIN = "import sys; from innflow.command.main import train; sys.argv[0] = 'innflow-train'; train()"
# NLTP and the tests of calibration alone; C2ST is computed here.
ANALYSES = (
    *("analysis.local=null", "analysis.recovery=null", "analysis.posterior.observations=1"),
    *("analysis.posterior.err_observations=1", "analysis.posterior.shown=1"),
)
RESULT = "benchmark.json"
P_VALUES = ("sbc_p", "coverage_p", "tarp_p")


def train(task: str, run: Path, overrides: Sequence[str]) -> None:
    """Train a task in a process of its own."""
    forward = "forward_raw" if task.endswith("_raw") else "forward"
    problem = (f"data.prior={MODULES[task]}.prior", f"data.forward={MODULES[task]}.{forward}")
    options = ("+experiment=simulator", *problem, *ANALYSES, f"run_dir='{run}'", *overrides)
    subprocess.run([sys.executable, "-c", TRAIN, *options], check=True)


def read_csv(path: Path) -> np.ndarray:
    """Return the rows of a table with one line of names."""
    return np.loadtxt(path, delimiter=",", skiprows=1)


def measure(task: str, run: Path, folder: Path) -> dict[str, float | list[float]]:
    """Return C2ST at each observation, that of two reference sets at the first, and metrics."""
    app = innflow.load(run, trust=True)
    assert isinstance(app, Inverse)
    scores, floor = [], 0.0
    name, file = SHARED.get(task, (task, "observation.csv"))
    for place in sorted((folder / name).iterdir()):
        y = torch.from_numpy(read_csv(place / file)).float()
        exact = read_csv(place / "reference_posterior_samples.csv.bz2")
        scores.append(compute_c2st(app.posterior(y, DRAWS, seed=0).numpy(), exact[:DRAWS]))
        floor = floor or compute_c2st(exact[DRAWS:][:DRAWS], exact[:DRAWS])
    metrics = json.loads((run / "metrics.json").read_text())
    found = {key: metrics[f"posterior/{key}"] for key in ("nltp", *P_VALUES)}
    steps = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    minutes = metrics["time/train_seconds"] / 60
    return {"c2st": scores, "floor": floor, **found, "minutes": minutes, "steps": steps}


def make_table(results: dict[str, dict]) -> str:
    """Return the rows of the page, and the mean."""
    lines = [
        "| task | C2ST | of each observation | floor | NLTP, nats | SBC, coverage, TARP: p "
        "| minutes, steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, found in results.items():
        each = ", ".join(f"{score:.3f}" for score in found["c2st"])
        p_values = ", ".join(f"{found[key]:.2f}" for key in P_VALUES)
        lines.append(
            f"| {task} | {np.mean(found['c2st']):.3f} | {each} | {found['floor']:.3f} | "
            f"{found['nltp']:.2f} | {p_values} | {found['minutes']:.1f}, {found['steps']:,} |"
        )
    mean = np.mean([np.mean(found["c2st"]) for found in results.values()])
    return "\n".join([*lines, f"| mean of {len(results)} | {mean:.3f} | | | | | |", ""])


def main(benchmark: str, out: str, *rest: str) -> None:
    """Train and measure the tasks, and write the results after each."""
    overrides, tasks = [text for text in rest if "=" in text], [t for t in rest if t in MODULES]
    folder, place = Path(benchmark), Path(out).resolve()
    os.environ["SBIBM"] = str(folder.resolve())
    for task in tasks or MODULES:
        run = place / task
        if not (run / "metrics.json").exists():
            train(task, run, overrides)
        if not (run / RESULT).exists():
            (run / RESULT).write_text(json.dumps(measure(task, run, folder), indent=2))
        measured = [name for name in MODULES if (place / name / RESULT).exists()]
        table = make_table(
            {name: json.loads((place / name / RESULT).read_text()) for name in measured}
        )
        (place / "tasks.md").write_text(table)
        print(table, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
