"""innflow-compare: which of several models gives observed data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from torch import Tensor

from innflow.analysis.posterior.local_calibration import read_simulations, standardize
from innflow.analysis.posterior.resimulation import build_problem
from innflow.app import Inverse, correct_posterior
from innflow.app.posterior.correction import check_proposal
from innflow.command.arguments import check_arguments, load_inverse, read_observations
from innflow.command.posterior.command import MISSPECIFIED, list_unreliable
from innflow.data.simulation.inverse_data import InverseData
from innflow.errors import InnflowError
from innflow.metric.model_probabilities import classify_models
from innflow.system.file.atomic import write_json
from innflow.system.progress import announce, track

SHOWN = 10
"""Largest number of printed observations."""


def compare(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Print the probability of each model at every observation."""
    check_arguments(arguments, overrides)
    runs = [str(run) for run in arguments["runs"]]
    apps = [load_inverse({**arguments, "run": run}) for run in runs]
    names = [app.feature_names("y", len(app.y_units.mean)) for app in apps]
    for run, other in zip(runs, names, strict=True):
        if other != names[0]:
            raise InnflowError(
                f"runs: the data of {runs[0]} are {', '.join(names[0])}, those of {run} "
                f"{', '.join(other)}: give runs on the same data"
            )
    y = read_observations(apps[0], arguments["y"])
    unlikely = np.stack([app.misspecification_p(y).cpu().numpy() for app in apps], axis=1)
    problems = _find_problems(apps, runs, y, arguments["trust"])
    result: dict[str, Any] = {"runs": runs}
    if problems is None:
        simulated = [
            standardize(apps[0], read_simulations(app, Path(run))["y"])
            for app, run in zip(apps, runs, strict=True)
        ]
        observed = standardize(apps[0], y)
        probabilities, ece = classify_models(simulated, observed, arguments["seed"] or 0)
        result["ece"] = ece
        announce(f"probabilities by a classifier of simulations, calibration error {ece:.3f}")
        columns = {"probability": probabilities}
    else:
        evidence, error = _compute_evidence(apps, problems, runs, y, arguments)
        columns = {"log_evidence": evidence, "error": error}
        columns["log_bayes_factor"] = evidence - evidence[:, :1]
        columns["probability"] = softmax(evidence, axis=1)
    columns["misspecification_p"] = unlikely
    _show(runs, columns)
    result |= {name: values.tolist() for name, values in columns.items()}
    if arguments["out"] is not None:
        write_json(Path(arguments["out"]), result)


def _find_problems(
    apps: Sequence[Inverse], runs: Sequence[str], y: Tensor, trust: bool
) -> list[InverseData] | None:
    """Return the problem of each run; None, with a printed line, if one has no likelihood."""
    problems = []
    for app, run in zip(apps, runs, strict=True):
        try:
            check_proposal(app)
            problems.append(build_problem(app, trust, run))
            problems[-1].log_joint(y[0])
        except InnflowError as error:
            announce(f"no evidence of {run}: {error}")
            return None
    return problems


def _compute_evidence(
    apps: Sequence[Inverse],
    problems: Sequence[InverseData],
    runs: Sequence[str],
    y: Tensor,
    arguments: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Return log evidence and its standard error (B, runs), and print warnings."""
    proposals, seed = arguments["proposals"], arguments["seed"] or 0
    columns = []
    for app, problem, run in zip(apps, problems, runs, strict=True):
        found = [
            correct_posterior(app, one, problem.log_joint(one), 1, proposals, seed + row)
            for row, one in enumerate(track(y.unbind(), f"evidence of {run}"))
        ]
        for warning in list_unreliable(found):
            announce(f"warning: {run}: {warning}")
        columns.append(
            [(one.importance.log_evidence, one.importance.log_evidence_error) for one in found]
        )
    evidence, error = np.moveaxis(np.array(columns), 2, 0)
    return evidence.T, error.T


def _show(runs: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    width = max(len(name) for name in (*runs, "observation 0"))
    unlikely = columns["misspecification_p"].max(axis=1) < MISSPECIFIED
    for row, none in enumerate(unlikely[:SHOWN]):
        announce(f"{f'observation {row}':<{width}}" + "".join(f"{name:>20}" for name in columns))
        for column, run in enumerate(runs):
            cells = "".join(f"{values[row, column]:>20.4g}" for values in columns.values())
            announce(f"{run:<{width}}{cells}")
        if none:
            announce(f"warning: observation {row} is unlike the simulations of every model")
    if len(unlikely) > SHOWN:
        announce(f"... {len(unlikely) - SHOWN} more observations; out=FILE.json has all")
