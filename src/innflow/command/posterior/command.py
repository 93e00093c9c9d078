"""innflow-posterior: draw parameters of an inverse problem, given observed data."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.posterior.local_calibration import LEVEL, read_local_test, standardize
from innflow.analysis.posterior.resimulation import (
    build_forward_model,
    build_problem,
    resimulate_or_announce,
)
from innflow.app import Correction, Inverse, correct_posterior
from innflow.app.posterior.correction import check_proposal
from innflow.command.arguments import (
    check_arguments,
    load_inverse,
    output_folder,
    read_observations,
)
from innflow.command.posterior.arviz import require_arviz, write_inference_data
from innflow.command.posterior.files import Posteriors, write_draws, write_figures, write_summary
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.table.files import read_rows
from innflow.errors import InnflowError
from innflow.metric.summary import compute_summary
from innflow.run.folder import claim, write_origin
from innflow.run.report.headline import warn_of_calibration
from innflow.system.file.record import read_json
from innflow.system.memory import require_memory
from innflow.system.progress import announce, track

MISSPECIFIED = 0.01
"""p-value below which a warning is printed: the observation is unlike the simulations."""
WARNED, SHOWN = 5, 16
"""Largest numbers of printed warnings and of printed parameters."""
ROWS = 10_000
"""Draws in one batch of the density."""
PARETO_K, EFFICIENCY = 0.7, 0.01
"""Pareto k above which, and efficiency below which, a corrected posterior has a warning."""


def posterior(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Draw from p(x | y) for every observation and write draws, summaries and figures."""
    check_arguments(arguments, overrides)
    app = load_inverse(arguments)
    parameters = app.feature_names("x", app.shape[0])
    observables = app.feature_names("y", len(app.y_units.mean))
    y = read_observations(app, arguments["y"])
    truth = None
    if arguments["truth"] is not None:
        truth = read_rows(arguments["truth"], parameters, "truth").numpy()
        if len(truth) != len(y):
            raise InnflowError(f"truth: {len(truth)} rows for {len(y)} observations in y")
    if arguments["arviz"]:
        require_arviz()
    n, proposals = arguments["n"], arguments["proposals"]
    require_memory(f"n={n}", 4 * max(n, proposals or 0) * len(y) * app.dims)
    if proposals is not None and not arguments["correct"]:
        raise InnflowError(f"proposals={proposals}: is for correct=true")
    problem = None
    if arguments["correct"]:
        check_proposal(app)
        problem = build_problem(app, arguments["trust"], arguments["run"])
        problem.log_joint(y[0])  # raises where there is none
    out, seed = output_folder(arguments, "posterior"), arguments["seed"] or 0
    with claim(out, key="out"):
        misspecification_p = app.misspecification_p(y).cpu().numpy()
        warnings = _list_unlikely(misspecification_p, app.misspecification.smallest_p_value)
        corrections: list[Correction] = []
        local_p: list[float] = []
        if problem is None:
            local_p = _test_locally(app, y, arguments["run"], seed)
            warnings += _list_uncalibrated(arguments["run"], local_p)
            drawn = draw(app, y, n, seed)
            data = build_forward_model(app, arguments["trust"], arguments["run"])
        else:
            corrections = correct(app, problem, y, n, proposals, seed)
            warnings += list_unreliable(corrections)
            drawn = {
                "x": torch.stack([one.x.cpu() for one in corrections]),
                "log_prob": torch.stack([one.log_prob for one in corrections]),
            }
            data = problem
        arrays = {name: values.numpy() for name, values in drawn.items()}
        observed = y.numpy()
        x, eps, log_prob = arrays["x"], arrays.get("eps"), arrays.get("log_prob")
        densities = [None] * len(y) if log_prob is None else log_prob
        pairs = zip(track(x, "summary"), densities, strict=True)
        summaries = [compute_summary(draws, density) for draws, density in pairs]
        made = [] if data is None else resimulate_or_announce(data, drawn["x"], observed, seed)
        result = Posteriors(
            parameters,
            observables,
            observed,
            x,
            eps,
            log_prob,
            misspecification_p,
            summaries,
            truth,
            made,
            corrections,
            local_p,
            warnings,
        )
        limits = torch.stack((app.x_units.low, app.x_units.high), dim=1).cpu().numpy()
        noise = None if data is None or data.noise is None else data.noise.norm(dim=1).numpy()
        try:
            with TemporaryDirectory(prefix=".partial-", dir=out) as folder:
                partial = Path(folder)
                write_draws(result, partial)
                write_summary(result, partial)
                write_figures(result, partial, limits, noise)
                if arguments["arviz"]:
                    write_inference_data(result, partial)
                typed = [f"{key}={value}" for key, value in arguments.items() if value is not None]
                write_origin(partial, {**app.config, "seed": seed}, typed, str(app.device))
                for path in list(partial.iterdir()):
                    path.rename(out / path.name)
        except OSError as error:
            raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    for warning in warnings[:WARNED]:
        announce(f"warning: {warning}")
    if len(warnings) > WARNED:
        announce(f"warning: {len(warnings) - WARNED:,} more warnings in summary.json")
    _show(result)
    announce(str(out))


def draw(app: Inverse, y: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """Draw from the posterior of every row of y, of row i as `app.posterior(y[i], n, seed + i)`.

    Returns:
        x (B, n, P), eps (B, n, M) where the partition has it, and log_prob (B, n) where p(x | y)
        has a closed form.
    """
    found: dict[str, list[Tensor]] = {}
    for row, data in enumerate(track(y.unbind(), "posterior")):
        try:
            x = app.posterior(data, n, seed + row)
        except InnflowError as error:
            raise InnflowError(f"observation {row}: {error}") from None
        found.setdefault("x", []).append(x.cpu())
        if "eps" in app.partition.left:
            found.setdefault("eps", []).append(app.posterior_noise(data, n, seed + row).cpu())
        elif set(app.partition.left) == {"x"}:
            pieces = [app.log_prob(part, data.expand(len(part), -1)) for part in x.split(ROWS)]
            found.setdefault("log_prob", []).append(torch.cat(pieces).cpu())
    return {name: torch.stack(rows) for name, rows in found.items()}


def correct(
    app: Inverse, data: InverseData, y: Tensor, n: int, proposals: int | None, seed: int
) -> list[Correction]:
    """Correct the posterior of every row i of y with seed + i."""
    found = []
    for row, observed in enumerate(track(y.unbind(), "corrected posterior")):
        try:
            one = correct_posterior(
                app, observed, data.log_joint(observed), n, proposals, seed + row
            )
        except InnflowError as error:
            raise InnflowError(f"observation {row}: {error}") from None
        found.append(one)
        effective, efficiency = one.importance.effective, one.importance.efficiency
        if effective < n:
            announce(
                f"observation {row}: effective sample size {effective:,.0f} for n={n}, so draws "
                f"repeat: proposals={math.ceil(n / efficiency)} gives {n:,}"
            )
    return found


def _list_unlikely(misspecification_p: np.ndarray, least: float) -> list[str]:
    # With few simulations the smallest possible p-value, `least`, may be above the limit.
    unlikely = np.flatnonzero((misspecification_p < MISSPECIFIED) | (misspecification_p <= least))
    return [
        f"observation {row} is unlike all simulated data (misspecification p = "
        f"{misspecification_p[row]:.2g}): its posterior is an extrapolation"
        for row in unlikely
    ]


def list_unreliable(corrections: Sequence[Correction]) -> list[str]:
    """Return a warning for each observation with a large Pareto k or a low efficiency."""
    found = [(row, one.importance) for row, one in enumerate(corrections)]
    return [
        f"observation {row}: the correction is not reliable (Pareto k {one.pareto_k:.2f}, "
        f"efficiency {one.efficiency:.2%}): the flow is too far from the posterior; train it "
        "longer or on more simulations"
        for row, one in found
        if one.pareto_k > PARETO_K or one.efficiency < EFFICIENCY
    ]


def _list_uncalibrated(run: str, local_p: Sequence[float]) -> list[str]:
    """List the failed tests of calibration: those of the run, and those at the observations."""
    general = warn_of_calibration(read_json(Path(run) / "metrics.json", {}))
    return ([] if general is None else [general]) + [
        f"observation {row}: the posterior is not calibrated there: L-C2ST p = {p:.2g}"
        for row, p in enumerate(local_p)
        if p < LEVEL
    ]


def _test_locally(app: Inverse, y: Tensor, run: str, seed: int) -> list[float]:
    """Return the p-value of L-C2ST at every row of y; none without simulations in the run."""
    test = read_local_test(app, Path(run), seed)
    if test is None:
        announce(
            f"local test of calibration left out: run={run} has no calibration.npz, which "
            "training with analysis=posterior writes"
        )
        return []
    return [test(row) for row in track(standardize(app, y), "L-C2ST")]


def _show(result: Posteriors) -> None:
    """Print the summary of the first observation."""
    first = result.summaries[0]
    columns = {"mean": first.mean, "sd": first.sd}
    columns |= dict(zip(("2.5%", "50%", "97.5%"), first.quantiles[[0, 2, 4]], strict=True))
    columns["MAP"] = first.mode
    if result.truth is not None:
        columns["truth"] = result.truth[0]
    shown = result.parameters[:SHOWN]
    width = max(len(name) for name in (*shown, "observation 0"))
    announce(f"{'observation 0':<{width}}" + "".join(f"{word:>12}" for word in columns))
    for row, name in enumerate(shown):
        cells = "".join(f"{values[row]:>12.4g}" for values in columns.values())
        announce(f"{name:<{width}}{cells}")
    if len(result.parameters) > SHOWN:
        announce(f"... {len(result.parameters) - SHOWN} more parameters in summary.csv")
    error = ""
    if result.resimulations:
        error = f", mean |f(x) - y|^2 = {result.resimulations[0].error:.3g}"
    announce(f"misspecification p = {result.misspecification_p[0]:.2g}{error}")
    if result.corrections:
        found = result.corrections[0].importance
        announce(
            f"corrected: {len(found.weights):,} proposals, efficiency {found.efficiency:.1%}, "
            f"Pareto k {found.pareto_k:.2f}, log evidence {found.log_evidence:.3f} ± "
            f"{found.log_evidence_error:.3f} nats"
        )
